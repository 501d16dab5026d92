/* The loops of simd.h, which includes this file once for each kind of processor, with these set:

   CS_NAME(loop)  name of a loop for that processor
   CS_TARGET      attribute that lets the compiler use its instructions
   CS_V, CS_I     its widest vectors, of floats and of integers
   CS_W           how many floats they hold */

/* DO(V, I, W, i) with vectors V, or I, of W lanes, for the columns of a row of n from i on; the last one of eight may overlap the
   one before, so DO must not add to what it writes. What is left, from i on, is less than eight columns that hold no vector. */
#define CS_ACROSS(DO) \
    int i = 0; \
    for (; i+CS_W <= n; i += CS_W) DO(CS_V, CS_I, CS_W, i) \
    for (; i+8 <= n; i += 8) DO(cs_v8, cs_i8, 8, i) \
    if (n >= 8 && i < n) { \
        i = n-8; \
        DO(cs_v8, cs_i8, 8, i) \
        i = n; \
    }

/* The sum of eight floats in double precision. */
CS_TARGET static inline double CS_NAME(total)(const cs_v8 *v)
{
    const cs_v4 *half = (const cs_v4 *)v;
    cs_d4 d = CS_DOUBLES(half[0]+half[1]);
    return (d[0]+d[2]) + (d[1]+d[3]);
}

/* The nine sums over pixels of products of three stamps t with three stamps p. Stamps of t are t_plane floats apart, with rows
   t_row apart, p likewise; rows hold 8*vectors floats. */
CS_TARGET static void CS_NAME(products)(const float *t, ptrdiff_t t_plane, ptrdiff_t t_row, const float *p, ptrdiff_t p_plane,
                                        ptrdiff_t p_row, int rows, int vectors, double *sums)
{
    cs_v8 s[9] = {{0}};
    /* down the rows: most stamps share few vectors */
    for (int v = 0; v < vectors; v++, t += 8, p += 8) {
        const float *a = t, *b = p;
        for (int j = 0; j < rows; j++, a += t_row, b += p_row) {
            cs_v8 a0 = CS_LOAD(cs_v8, a), a1 = CS_LOAD(cs_v8, a+t_plane), a2 = CS_LOAD(cs_v8, a+2*t_plane);
            cs_v8 b0 = CS_LOAD(cs_v8, b), b1 = CS_LOAD(cs_v8, b+p_plane), b2 = CS_LOAD(cs_v8, b+2*p_plane);
            s[0] += a0*b0; s[1] += a0*b1; s[2] += a0*b2;
            s[3] += a1*b0; s[4] += a1*b1; s[5] += a1*b2;
            s[6] += a2*b0; s[7] += a2*b1; s[8] += a2*b2;
        }
    }
    for (int q = 0; q < 9; q++) sums[q] = CS_NAME(total)(&s[q]);
}

/* Four neighbouring rows of a correlation: out[m][k] = sum over j, i of kernel[j*size+i] image[(j+m)*row + i + k], k below n, a
   multiple of 32. Three rows of zeros stand before the kernel and three behind it. */
CS_TARGET static void CS_NAME(correlate)(const float *image, ptrdiff_t row, const float *kernel, int size, int n, float *out,
                                         ptrdiff_t out_row)
{
    /* what row j of the image adds to rows of the result from `first` to before `end` */
#define CS_ROW(j, first, end) { \
        const float *a = image + (j)*row + k, *f = kernel + (j)*size; \
        for (int i = 0; i < size; i++, a++, f++) { \
            const CS_V left = CS_LOAD(CS_V, a), right = CS_LOAD(CS_V, a+CS_W); \
            CS_UNROLL for (int m = first; m < end; m++) { \
                s[m][0] += f[-m*size]*left; \
                s[m][1] += f[-m*size]*right; \
            } \
        } \
    }
    for (int k = 0; k < n; k += 2*CS_W) {
        CS_V s[4][2] = {{{0}}};
        if (size < 3)
            for (int j = 0; j < size+3; j++) CS_ROW(j, 0, 4)
        else {
            /* without those that meet the zeros alone */
            CS_ROW(0, 0, 1)
            CS_ROW(1, 0, 2)
            CS_ROW(2, 0, 3)
            for (int j = 3; j < size; j++) CS_ROW(j, 0, 4)
            CS_ROW(size, 1, 4)
            CS_ROW(size+1, 2, 4)
            CS_ROW(size+2, 3, 4)
        }
        for (int m = 0; m < 4; m++) {
            CS_STORE(CS_V, out+m*out_row+k, s[m][0]);
            CS_STORE(CS_V, out+m*out_row+k+CS_W, s[m][1]);
        }
    }
#undef CS_ROW
}

/* Six-tap filters of each row: out[i] = sum over k of w[k] a[at[k] + i], and 0 from i = keep on. */
CS_TARGET static void CS_NAME(six_taps)(const float *a, ptrdiff_t a_row, const ptrdiff_t *at, const float *w, int rows, int n,
                                        int keep, float *out, ptrdiff_t out_row)
{
    const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5];
    const float *a0 = a+at[0], *a1 = a+at[1], *a2 = a+at[2], *a3 = a+at[3], *a4 = a+at[4], *a5 = a+at[5];
    /* down the rows, so that the weights stay in their registers */
#define CS_TAPS(V, j) ((w0*CS_LOAD(V, a0+(j))+w1*CS_LOAD(V, a1+(j))+w2*CS_LOAD(V, a2+(j))) \
                       +(w3*CS_LOAD(V, a3+(j))+w4*CS_LOAD(V, a4+(j))+w5*CS_LOAD(V, a5+(j))))
#define CS_DOWN(V, I, W, i) \
    if (i+W <= keep) \
        for (ptrdiff_t r = 0, j = i, k = i; r < rows; r++, j += a_row, k += out_row) CS_STORE(V, out+k, CS_TAPS(V, j)); \
    else { \
        const I mask = CS_LOAD(I, cs_lanes) < keep-(i); \
        for (ptrdiff_t r = 0, j = i, k = i; r < rows; r++, j += a_row, k += out_row) \
            CS_STORE(V, out+k, (V)((I)CS_TAPS(V, j) & mask)); \
    }
    CS_ACROSS(CS_DOWN)
    for (; i < n; i++)
        for (int r = 0; r < rows; r++) out[r*out_row+i] = i < keep ? CS_TAPS(float, r*a_row+i) : 0;
#undef CS_DOWN
#undef CS_TAPS
}

/* In each row, out[i] = sum over k of f[k] a[k*plane + i]. Each value is written once: vectors that overlap write some twice, the
   same, so out must not lie where a is. */
CS_TARGET static void CS_NAME(combine)(const float *a, ptrdiff_t a_row, ptrdiff_t plane, const float *f, int count, int rows,
                                       int n, float *out, ptrdiff_t out_row)
{
    /* the six terms of a polynomial of second order at once, others one by one */
#define CS_SIX(V, I, W, i) { \
        const float f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3], f4 = f[4], f5 = f[5]; \
        const float *b = a + i; \
        float *to = out + i; \
        for (int r = 0; r < rows; r++, b += a_row, to += out_row) \
            CS_STORE(V, to, (f0*CS_LOAD(V, b)+f1*CS_LOAD(V, b+plane)+f2*CS_LOAD(V, b+2*plane)) \
                            +(f3*CS_LOAD(V, b+3*plane)+f4*CS_LOAD(V, b+4*plane)+f5*CS_LOAD(V, b+5*plane))); \
    }
#define CS_ANY(V, I, W, i) { \
        const float *b = a + i; \
        float *to = out + i; \
        for (int r = 0; r < rows; r++, b += a_row, to += out_row) { \
            V s = f[0]*CS_LOAD(V, b); \
            for (int k = 1; k < count; k++) s += f[k]*CS_LOAD(V, b+k*plane); \
            CS_STORE(V, to, s); \
        } \
    }
    if (count == 6) {
        CS_ACROSS(CS_SIX)
        for (; i < n; i++) CS_SIX(float, int, 1, i)
    } else {
        CS_ACROSS(CS_ANY)
        for (; i < n; i++) CS_ANY(float, int, 1, i)
    }
#undef CS_SIX
#undef CS_ANY
}

/* The sum of products of two images whose rows are a_row and b_row apart. */
CS_TARGET static void CS_NAME(dot)(const float *a, ptrdiff_t a_row, const float *b, ptrdiff_t b_row, int rows, int n, double *sum)
{
    cs_v8 s = {0};
    double rest = 0;
    for (int r = 0; r < rows; r++, a += a_row, b += b_row) {
        int i = 0;
        for (; i+8 <= n; i += 8) s += CS_LOAD(cs_v8, a+i)*CS_LOAD(cs_v8, b+i);
        if (i < n && n >= 8) s += CS_LOAD(cs_v8, a+n-8)*CS_LAST(CS_LOAD(cs_v8, b+n-8), n-i);
        else
            for (; i < n; i++) rest += (double)a[i]*b[i];
    }
    *sum = CS_NAME(total)(&s)+rest;
}

/* Three stamps p times weights w into stamps t, and the sums of each with a residual r. Stamps of p are p_plane floats apart,
   with rows p_row apart, t likewise; rows of w and r are row apart. */
CS_TARGET static void CS_NAME(weigh)(const float *w, const float *r, ptrdiff_t row, const float *p, ptrdiff_t p_plane,
                                     ptrdiff_t p_row, int rows, int n, float *t, ptrdiff_t t_plane, ptrdiff_t t_row, double *sums)
{
    cs_v8 s[3] = {{0}};
    double rest[3] = {0};
    for (int j = 0; j < rows; j++, w += row, r += row, p += p_row, t += t_row) {
        int i = 0;
        for (; i+8 <= n; i += 8) {
            cs_v8 weight = CS_LOAD(cs_v8, w+i), left = CS_LOAD(cs_v8, r+i);
            for (int q = 0; q < 3; q++) {
                cs_v8 v = weight*CS_LOAD(cs_v8, p+q*p_plane+i);
                CS_STORE(cs_v8, t+q*t_plane+i, v);
                s[q] += v*left;
            }
        }
        if (i < n && n >= 8) {
            const cs_v8 weight = CS_LOAD(cs_v8, w+n-8), left = CS_LAST(CS_LOAD(cs_v8, r+n-8), n-i);
            for (int q = 0; q < 3; q++) {
                const cs_v8 v = weight*CS_LOAD(cs_v8, p+q*p_plane+n-8);
                CS_STORE(cs_v8, t+q*t_plane+n-8, v);
                s[q] += v*left;
            }
        } else
            for (; i < n; i++)
                for (int q = 0; q < 3; q++) {
                    const float v = w[i]*p[q*p_plane+i];
                    t[q*t_plane+i] = v;
                    rest[q] += (double)v*r[i];
                }
    }
    for (int q = 0; q < 3; q++) sums[q] = CS_NAME(total)(&s[q]) + rest[q];
}

/* The 3x3 blocks of one source with some others times their vectors, and transposed times its own, both added. Vectors hold three
   numbers and, in x, a zero; the fourth of those that are added to is undefined. */
CS_TARGET static void CS_NAME(block_row)(const float *blocks, const int *others, ptrdiff_t count, const double *x, double *y,
                                         ptrdiff_t own)
{
    cs_d4 y0 = {0}, y1 = {0}, y2 = {0};
    const double x0 = x[4*own], x1 = x[4*own+1], x2 = x[4*own+2];
    for (ptrdiff_t m = 0; m < count; m++, blocks += 9) {
        double *out = y + 4*(ptrdiff_t)others[m];
        cs_d4 b = CS_LOAD(cs_d4, x + 4*(ptrdiff_t)others[m]);
        cs_d4 c0 = CS_DOUBLES(CS_LOAD(cs_v4, blocks));
        cs_d4 c1 = CS_DOUBLES(CS_LOAD(cs_v4, blocks+3));
        cs_d4 c2 = CS_DOUBLES(CS_LOAD(cs_v4, blocks+6));
        y0 += c0*b; y1 += c1*b; y2 += c2*b;
        CS_STORE(cs_d4, out, CS_LOAD(cs_d4, out)+c0*x0+c1*x1+c2*x2);
    }
    y[4*own] += y0[0]+y0[1]+y0[2];
    y[4*own+1] += y1[0]+y1[1]+y1[2];
    y[4*own+2] += y2[0]+y2[1]+y2[2];
}

/* The sums of products of rows of a, a_rows of them, with rows of b: sums[i*b_rows+j], of n numbers each. */
#define CS_ROW_PRODUCTS(TYPE, V, W, total) { \
    for (int i = 0; i < a_rows; i += 2) \
        for (int j = 0; j < b_rows; j += 4) { \
            if (i+1 < a_rows && j+1 < b_rows) CS_BLOCK(2, 4, TYPE, V, W, total) \
            else if (i+1 < a_rows) CS_BLOCK(2, 1, TYPE, V, W, total) \
            else if (j+1 < b_rows) CS_BLOCK(1, 4, TYPE, V, W, total) \
            else CS_BLOCK(1, 1, TYPE, V, W, total) \
        } \
}
/* R rows of a with T rows of b; rows past the last are the last once more. */
#define CS_BLOCK(R, T, TYPE, V, W, total) { \
        const TYPE *p[R], *q[T]; \
        for (int r = 0; r < R; r++) p[r] = a+(i+r)*(ptrdiff_t)n; \
        for (int t = 0; t < T; t++) q[t] = b+(j+t < b_rows ? j+t : b_rows-1)*(ptrdiff_t)n; \
        V s[R][T] = {{{0}}}; \
        int k = 0; \
        for (; k+W <= n; k += W) \
            CS_UNROLL for (int r = 0; r < R; r++) \
                CS_UNROLL for (int t = 0; t < T; t++) s[r][t] += CS_LOAD(V, p[r]+k)*CS_LOAD(V, q[t]+k); \
        if (k < n) { \
            TYPE left[R+T][W] = {{0}}; \
            for (int m = 0; k+m < n; m++) { \
                for (int r = 0; r < R; r++) left[r][m] = p[r][k+m]; \
                for (int t = 0; t < T; t++) left[R+t][m] = q[t][k+m]; \
            } \
            for (int r = 0; r < R; r++) \
                for (int t = 0; t < T; t++) s[r][t] += CS_LOAD(V, left[r])*CS_LOAD(V, left[R+t]); \
        } \
        for (int r = 0; r < R; r++) \
            for (int t = 0; t < T && j+t < b_rows; t++) sums[(i+r)*(ptrdiff_t)b_rows+j+t] = total(&s[r][t]); \
    }
#define CS_TOTAL_D4(v) (((*(v))[0]+(*(v))[2])+((*(v))[1]+(*(v))[3]))
CS_TARGET static void CS_NAME(row_products_float)(const float *a, int a_rows, const float *b, int b_rows, int n, double *sums)
CS_ROW_PRODUCTS(float, cs_v8, 8, CS_NAME(total))
CS_TARGET static void CS_NAME(row_products_double)(const double *a, int a_rows, const double *b, int b_rows, int n, double *sums)
CS_ROW_PRODUCTS(double, cs_d4, 4, CS_TOTAL_D4)
#undef CS_BLOCK
#undef CS_ROW_PRODUCTS
#undef CS_TOTAL_D4

/* out[i] = sum over k of f[k] a[k*n + i], of n numbers; vectors that overlap write some twice, the same. */
CS_TARGET static void CS_NAME(combine_double)(const double *a, const double *f, int count, int n, double *out)
{
#define CS_COLUMNS(VECTORS) { \
        cs_d4 s[VECTORS] = {{0}}; \
        for (int k = 0; k < count; k++) \
            CS_UNROLL for (int m = 0; m < VECTORS; m++) s[m] += f[k]*CS_LOAD(cs_d4, a+k*(ptrdiff_t)n+i+4*m); \
        CS_UNROLL for (int m = 0; m < VECTORS; m++) CS_STORE(cs_d4, out+i+4*m, s[m]); \
    }
    int i = 0;
    for (; i+16 <= n; i += 16) CS_COLUMNS(4)
    for (; i+8 <= n; i += 8) CS_COLUMNS(2)
    for (; i+4 <= n; i += 4) CS_COLUMNS(1)
    if (i < n && n >= 4) {
        i = n-4;
        CS_COLUMNS(1)
        i = n;
    }
    for (; i < n; i++) {
        double s = 0;
        for (int k = 0; k < count; k++) s += f[k]*a[k*(ptrdiff_t)n+i];
        out[i] = s;
    }
#undef CS_COLUMNS
}

/* Adds to the sums s, in the order of struct cs_measured, what four pixels give. */
CS_TARGET static inline void CS_NAME(measure_four)(const float *p, const float *g, const float *dx, const float *dy, const float *r,
                                                   const float *m, const float *w, double flux, cs_d4 *s)
{
#define CS_FOUR(a) CS_DOUBLES(CS_LOAD(cs_v4, a))
    const cs_d4 v = CS_FOUR(p), wide = CS_FOUR(g), x = CS_FOUR(dx), y = CS_FOUR(dy), left = CS_FOUR(r), weight = CS_FOUR(w);
    const cs_d4 d = left+flux*v, wv = weight*v, wx = weight*x, wy = weight*y, wg = weight*wide;
    s[0] += v; s[1] += v*v; s[2] += (cs_d4)((cs_l4)v & (cs_l4)(weight > 0)); s[3] += wv*left*left;
    s[4] += wv; s[5] += weight; s[6] += wv*v; s[7] += wv*(left+CS_FOUR(m)); s[8] += wv*wide; s[9] += wv*x; s[10] += wv*y;
    s[11] += wx*x; s[12] += wx*y; s[13] += wy*y;
    s[14] += wv*d; s[15] += wx*d; s[16] += wy*d; s[17] += weight*d; s[18] += wg*d; s[19] += wg*wide;
#undef CS_FOUR
}

/* Sums over n pixels for the measurements of a source: PSF p, smeared PSF g, gradient dx, dy, residual r, model m, inverse
   variance w. */
CS_TARGET static void CS_NAME(measure_sums)(const float *p, const float *g, const float *dx, const float *dy, const float *r,
                                            const float *m, const float *w, int n, double flux, struct cs_measured *to)
{
    cs_d4 s[20] = {{0}};
    float last[7][4] = {{0}};
    int i = 0;
    for (; i+4 <= n; i += 4) CS_NAME(measure_four)(p+i, g+i, dx+i, dy+i, r+i, m+i, w+i, flux, s);
    if (i < n) {
        const float *planes[7] = {p, g, dx, dy, r, m, w};
        for (int k = 0; k < 7; k++)
            for (int j = i; j < n; j++) last[k][j-i] = planes[k][j];
        CS_NAME(measure_four)(last[0], last[1], last[2], last[3], last[4], last[5], last[6], flux, s);
    }
    double *sums = &to->p;
    for (int k = 0; k < 20; k++) sums[k] = (s[k][0]+s[k][1])+(s[k][2]+s[k][3]);
}

/* In each row, out[i] += f*a[i]. No vector overlaps another: what was just written would be read across vectors, which stalls. */
CS_TARGET static void CS_NAME(add)(const float *a, ptrdiff_t a_row, float f, int rows, int n, float *out, ptrdiff_t out_row)
{
    for (int r = 0; r < rows; r++, a += a_row, out += out_row) {
        int i = 0;
        for (; i+CS_W <= n; i += CS_W) CS_STORE(CS_V, out+i, CS_LOAD(CS_V, out+i)+f*CS_LOAD(CS_V, a+i));
        for (; i+8 <= n; i += 8) CS_STORE(cs_v8, out+i, CS_LOAD(cs_v8, out+i)+f*CS_LOAD(cs_v8, a+i));
        for (; i < n; i++) out[i] += f*a[i];
    }
}

/* `cs_one_power` of many numbers. */
CS_TARGET static void CS_NAME(powers)(const double *x, double y, double *out, ptrdiff_t n, const double *of_log, const double *of_exp)
{
    for (ptrdiff_t i = 0; i < n; i++) out[i] = cs_one_power(x[i], y, of_log, of_exp);
}
#undef CS_ACROSS
