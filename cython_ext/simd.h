/* Innermost loops of the kernels on four, eight or sixteen floats at a time.

   GCC and Clang compile each loop three times on x86-64: for any processor, for those with AVX2, and for those with AVX-512; which
   one runs is decided at each call by `cs_kind` (a load and a predicted branch). On other processors the vector types become
   whatever they have.

   All kinds give the same bits: sums have the same number of lanes whatever the processor, which are added in one order, and nothing
   is contracted to fused multiplications and additions, which not all processors have (-ffp-contract=off in setup.py). Other
   compilers take loops without vector types, which give the same up to rounding. */
#ifndef CROWDSOURCE_SIMD_H
#define CROWDSOURCE_SIMD_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Sums over pixels, named by their factors; d is the residual with the source's own light. */
struct cs_measured {
    double p, pp, pq, pr, wp, w, wpp, wpt, wpg, wpx, wpy, wxx, wxy, wyy, wdp, wdx, wdy, wd, wdg, wgg;
};

/* What the widest loops may use; tests take less, to run them anywhere. */
#ifndef CS_WIDEST
#define CS_WIDEST "avx2,avx512f,avx512dq,avx512vl"
#endif

/* Which loops run: kinds.pyx knows, and what includes this file sets it when it is imported. */
enum { CS_PLAIN, CS_AVX2, CS_AVX512 };
static int cs_kind = CS_PLAIN;

/* Whether the processor has what a kind needs. */
static inline int cs_can(int kind)
{
#if defined(__GNUC__) && defined(__x86_64__)
    if (kind == CS_AVX512) return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (kind == CS_AVX2) return __builtin_cpu_supports("avx2");
#endif
    return kind == CS_PLAIN;
}

/* The fraction of a positive normal number, from 1 to 2, and its power of two. */
static inline double cs_fraction(double x, int *power)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    *power = (int)(bits >> 52)-1023;
    bits = (bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
    memcpy(&x, &bits, 8);
    return x;
}

/* 2^k for k from -1022 to 1023. */
static inline double cs_power_of_two(int k)
{
    uint64_t bits = (uint64_t)(k+1023) << 52;
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

/* Added and taken away, it rounds to whole numbers. */
#define CS_ROUNDS 6755399441055744.
/* ln 2 in parts, of which the leading one has so few bits that small multiples of it are exact. */
#define CS_LN2_HIGH 6.93147180369123816490e-01
#define CS_LN2_LOW 1.90821492927058770002e-10
#define CS_PER_LN2 1.4426950408889634074
#define CS_ROOT_HALF 0.70710678118654752440

/* Polynomial of x with an even number of terms; even and odd ones apart, which a processor does side by side. */
static inline double cs_series(double x, const double *factors, int count)
{
    const double square = x*x;
    double even = factors[count-2], odd = factors[count-1];
    for (int i = count-4; i >= 0; i -= 2) {
        even = factors[i]+square*even;
        odd = factors[i+1]+square*odd;
    }
    return even+x*odd;
}

/* One number to the power y, if that is no whole number and neither is extreme: without branches, so that compilers make vectors
   of many; whole numbers are made and read by their bits beside a large one. */
static inline double cs_one_power(double x, double y, const double *of_log, const double *of_exp)
{
    const uint64_t whole_bits = 0x4338000000000000ULL;
    uint64_t bits;
    double fraction, power;
    memcpy(&bits, &x, 8);
    const uint64_t of_power = (bits >> 52)+whole_bits, of_fraction = (bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
    memcpy(&power, &of_power, 8);
    memcpy(&fraction, &of_fraction, 8);
    power -= CS_ROUNDS+1023;
    power = fraction > 2*CS_ROOT_HALF ? power+1 : power;
    fraction = fraction > 2*CS_ROOT_HALF ? fraction/2 : fraction;
    const double f = (fraction-1)/(fraction+1);
    const double log = y*(power*CS_LN2_HIGH+(power*CS_LN2_LOW+f*cs_series(f*f, of_log, 12)));
    const double shifted = log*CS_PER_LN2+CS_ROUNDS, whole = shifted-CS_ROUNDS;
    const double r = (log-whole*CS_LN2_HIGH)-whole*CS_LN2_LOW;
    double scale;
    memcpy(&bits, &shifted, 8);
    bits = (bits-whole_bits+1023) << 52;
    memcpy(&scale, &bits, 8);
    return cs_series(r, of_exp, 14)*scale;
}

#if defined(__GNUC__)
typedef float cs_v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef float cs_v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float cs_v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int cs_i4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int cs_i8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int cs_i16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef double cs_d4 __attribute__((vector_size(32), aligned(8), may_alias));
typedef long long cs_l4 __attribute__((vector_size(32), aligned(8), may_alias));
static const int cs_lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#define CS_LOAD(V, p) (*(const V *)(p))
#define CS_STORE(V, p, v) (*(V *)(p) = (v))
/* The first lanes of a vector, and zeros from lane `keep` on. */
#define CS_FIRST(V, I, v, keep) ((V)((I)(v) & (CS_LOAD(I, cs_lanes) < (int)(keep))))
/* The last `new` lanes of eight, where the others were added already, and zeros: rows need no end without vectors. */
#define CS_LAST(v, new) ((cs_v8)((cs_i8)(v) & (CS_LOAD(cs_i8, cs_lanes) >= (int)(8-(new)))))

#define CS_UNROLL _Pragma("GCC unroll 8")

#define CS_NAME(loop) cs_plain_##loop
#define CS_TARGET
#define CS_DOUBLES(v) __builtin_convertvector(v, cs_d4)
/* GCC keeps vectors that are wider than the processor's in memory; sums have eight lanes nevertheless */
#define CS_V cs_v4
#define CS_I cs_i4
#define CS_W 4
#include "simd_loops.h"
#if defined(__x86_64__)
#undef CS_NAME
#undef CS_TARGET
#undef CS_V
#undef CS_I
#undef CS_W
#define CS_NAME(loop) cs_avx2_##loop
#define CS_TARGET __attribute__((target("avx2")))
#define CS_V cs_v8
#define CS_I cs_i8
#define CS_W 8
/* one instruction, of which GCC makes four by itself */
#if !defined(__clang__)
#undef CS_DOUBLES
#define CS_DOUBLES(v) (cs_d4)__builtin_ia32_cvtps2pd256(v)
#endif
#include "simd_loops.h"
#undef CS_NAME
#undef CS_TARGET
#undef CS_V
#undef CS_I
#undef CS_W
#define CS_NAME(loop) cs_avx512_##loop
#define CS_TARGET __attribute__((target(CS_WIDEST)))
#define CS_V cs_v16
#define CS_I cs_i16
#define CS_W 16
#include "simd_loops.h"
#define CS_CALL(name, ...) \
    do { \
        if (cs_kind == CS_AVX512) cs_avx512_##name(__VA_ARGS__); \
        else if (cs_kind == CS_AVX2) cs_avx2_##name(__VA_ARGS__); \
        else cs_plain_##name(__VA_ARGS__); \
    } while (0)
#else
#define CS_CALL(name, ...) cs_plain_##name(__VA_ARGS__)
#endif

#else
static void cs_plain_products(const float *t, ptrdiff_t t_plane, ptrdiff_t t_row, const float *p, ptrdiff_t p_plane,
                              ptrdiff_t p_row, int rows, int vectors, double *sums)
{
    for (int m = 0; m < 9; m++) {
        const float *a0 = t + (m/3)*t_plane, *b0 = p + (m%3)*p_plane;
        double s = 0;
        for (int j = 0; j < rows; j++)
            for (int k = 0; k < 8*vectors; k++) s += (double)a0[j*t_row+k]*b0[j*p_row+k];
        sums[m] = s;
    }
}

static void cs_plain_correlate(const float *image, ptrdiff_t row, const float *kernel, int size, int n, float *out,
                               ptrdiff_t out_row)
{
    for (int m = 0; m < 4; m++)
        for (int k = 0; k < n; k++) {
            float s = 0;
            for (int j = 0; j < size; j++)
                for (int i = 0; i < size; i++) s += kernel[j*size+i]*image[(j+m)*row+i+k];
            out[m*out_row+k] = s;
        }
}

static void cs_plain_six_taps(const float *a, ptrdiff_t a_row, const ptrdiff_t *at, const float *w, int rows, int n, int keep,
                              float *out, ptrdiff_t out_row)
{
    for (int r = 0; r < rows; r++, a += a_row, out += out_row)
        for (int i = 0; i < n; i++) {
            const float *b = a+i;
            out[i] = i >= keep ? 0 : w[0]*b[at[0]]+w[1]*b[at[1]]+w[2]*b[at[2]]+w[3]*b[at[3]]+w[4]*b[at[4]]+w[5]*b[at[5]];
        }
}

static void cs_plain_combine(const float *a, ptrdiff_t a_row, ptrdiff_t plane, const float *f, int count, int rows, int n,
                             float *out, ptrdiff_t out_row)
{
    for (int r = 0; r < rows; r++, a += a_row, out += out_row)
        for (int i = 0; i < n; i++) {
            float s = 0;
            for (int k = 0; k < count; k++) s += f[k]*a[k*plane+i];
            out[i] = s;
        }
}

static void cs_plain_dot(const float *a, ptrdiff_t a_row, const float *b, ptrdiff_t b_row, int rows, int n, double *sum)
{
    *sum = 0;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) *sum += (double)a[r*a_row+i]*b[r*b_row+i];
}

static void cs_plain_row_products_float(const float *a, int a_rows, const float *b, int b_rows, int n, double *sums)
{
    for (int i = 0; i < a_rows; i++)
        for (int j = 0; j < b_rows; j++) cs_plain_dot(a+i*(ptrdiff_t)n, n, b+j*(ptrdiff_t)n, n, 1, n, sums+i*(ptrdiff_t)b_rows+j);
}

static void cs_plain_row_products_double(const double *a, int a_rows, const double *b, int b_rows, int n, double *sums)
{
    for (int i = 0; i < a_rows; i++)
        for (int j = 0; j < b_rows; j++) {
            double s = 0;
            for (int k = 0; k < n; k++) s += a[i*(ptrdiff_t)n+k]*b[j*(ptrdiff_t)n+k];
            sums[i*(ptrdiff_t)b_rows+j] = s;
        }
}

static void cs_plain_combine_double(const double *a, const double *f, int count, int n, double *out)
{
    for (int i = 0; i < n; i++) {
        double s = 0;
        for (int k = 0; k < count; k++) s += f[k]*a[k*(ptrdiff_t)n+i];
        out[i] = s;
    }
}

static void cs_plain_weigh(const float *w, const float *r, ptrdiff_t row, const float *p, ptrdiff_t p_plane, ptrdiff_t p_row,
                           int rows, int n, float *t, ptrdiff_t t_plane, ptrdiff_t t_row, double *sums)
{
    for (int q = 0; q < 3; q++) {
        sums[q] = 0;
        for (int j = 0; j < rows; j++)
            for (int i = 0; i < n; i++) {
                float v = w[j*row+i]*p[q*p_plane+j*p_row+i];
                t[q*t_plane+j*t_row+i] = v;
                sums[q] += (double)v*r[j*row+i];
            }
    }
}

static void cs_plain_block_row(const float *blocks, const int *others, ptrdiff_t count, const double *x, double *y, ptrdiff_t own)
{
    for (ptrdiff_t m = 0; m < count; m++, blocks += 9)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                y[4*own+i] += blocks[3*i+j]*x[4*others[m]+j];
                y[4*others[m]+j] += blocks[3*i+j]*x[4*own+i];
            }
}

static void cs_plain_measure_sums(const float *p, const float *g, const float *dx, const float *dy, const float *r,
                                  const float *m, const float *w, int n, double flux, struct cs_measured *to)
{
    double sp = 0, pp = 0, pq = 0, pr = 0, wp = 0, sw = 0, wpp = 0, wpt = 0, wpg = 0, wpx = 0, wpy = 0, wxx = 0, wxy = 0, wyy = 0;
    double wdp = 0, wdx = 0, wdy = 0, wd = 0, wdg = 0, wgg = 0;
    for (int i = 0; i < n; i++) {
        const double v = p[i], wide = g[i], x = dx[i], y = dy[i], left = r[i], weight = w[i], d = left+flux*v;
        const double wv = weight*v, wx = weight*x, wy = weight*y, wg = weight*wide;
        sp += v; pp += v*v; pq += weight > 0 ? v : 0; pr += wv*left*left;
        sw += weight; wp += wv; wd += weight*d;
        wpp += wv*v; wpt += wv*(left+m[i]); wpg += wv*wide; wpx += wv*x; wpy += wv*y; wdp += wv*d;
        wgg += wg*wide; wdg += wg*d;
        wxx += wx*x; wxy += wx*y; wdx += wx*d;
        wyy += wy*y; wdy += wy*d;
    }
    to->p = sp; to->pp = pp; to->pq = pq; to->pr = pr; to->w = sw; to->wp = wp; to->wd = wd;
    to->wpp = wpp; to->wpt = wpt; to->wpg = wpg; to->wpx = wpx; to->wpy = wpy; to->wdp = wdp; to->wgg = wgg; to->wdg = wdg;
    to->wxx = wxx; to->wxy = wxy; to->wdx = wdx; to->wyy = wyy; to->wdy = wdy;
}

static void cs_plain_add(const float *a, ptrdiff_t a_row, float f, int rows, int n, float *out, ptrdiff_t out_row)
{
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) out[r*out_row+i] += f*a[r*a_row+i];
}
static void cs_plain_powers(const double *x, double y, double *out, ptrdiff_t n, const double *of_log, const double *of_exp)
{
    for (ptrdiff_t i = 0; i < n; i++) out[i] = cs_one_power(x[i], y, of_log, of_exp);
}
#define CS_CALL(name, ...) cs_plain_##name(__VA_ARGS__)
#endif

static inline void cs_products(const float *t, ptrdiff_t t_plane, ptrdiff_t t_row, const float *p, ptrdiff_t p_plane,
                               ptrdiff_t p_row, int rows, int vectors, double *sums)
{
    CS_CALL(products, t, t_plane, t_row, p, p_plane, p_row, rows, vectors, sums);
}

static inline void cs_correlate(const float *image, ptrdiff_t row, const float *kernel, int size, int n, float *out,
                                ptrdiff_t out_row)
{
    CS_CALL(correlate, image, row, kernel, size, n, out, out_row);
}

static inline void cs_six_taps(const float *a, ptrdiff_t a_row, const ptrdiff_t *at, const float *w, int rows, int n, int keep,
                               float *out, ptrdiff_t out_row)
{
    CS_CALL(six_taps, a, a_row, at, w, rows, n, keep, out, out_row);
}

static inline void cs_combine(const float *a, ptrdiff_t a_row, ptrdiff_t plane, const float *f, int count, int rows, int n,
                              float *out, ptrdiff_t out_row)
{
    CS_CALL(combine, a, a_row, plane, f, count, rows, n, out, out_row);
}

static inline void cs_dot(const float *a, ptrdiff_t a_row, const float *b, ptrdiff_t b_row, int rows, int n, double *sum)
{
    CS_CALL(dot, a, a_row, b, b_row, rows, n, sum);
}

static inline void cs_row_products_float(const float *a, int a_rows, const float *b, int b_rows, int n, double *sums)
{
    CS_CALL(row_products_float, a, a_rows, b, b_rows, n, sums);
}

static inline void cs_row_products_double(const double *a, int a_rows, const double *b, int b_rows, int n, double *sums)
{
    CS_CALL(row_products_double, a, a_rows, b, b_rows, n, sums);
}

static inline void cs_combine_double(const double *a, const double *f, int count, int n, double *out)
{
    CS_CALL(combine_double, a, f, count, n, out);
}

static inline void cs_weigh(const float *w, const float *r, ptrdiff_t row, const float *p, ptrdiff_t p_plane, ptrdiff_t p_row,
                            int rows, int n, float *t, ptrdiff_t t_plane, ptrdiff_t t_row, double *sums)
{
    CS_CALL(weigh, w, r, row, p, p_plane, p_row, rows, n, t, t_plane, t_row, sums);
}

static inline void cs_block_row(const float *blocks, const int *others, ptrdiff_t count, const double *x, double *y,
                                ptrdiff_t own)
{
    CS_CALL(block_row, blocks, others, count, x, y, own);
}

static inline void cs_measure_sums(const float *p, const float *g, const float *dx, const float *dy, const float *r,
                                   const float *m, const float *w, int n, double flux, struct cs_measured *to)
{
    CS_CALL(measure_sums, p, g, dx, dy, r, m, w, n, flux, to);
}

static inline void cs_add(const float *a, ptrdiff_t a_row, float f, int rows, int n, float *out, ptrdiff_t out_row)
{
    CS_CALL(add, a, a_row, f, rows, n, out, out_row);
}

static inline void cs_powers(const double *x, double y, double *out, ptrdiff_t n, const double *of_log, const double *of_exp)
{
    CS_CALL(powers, x, y, out, n, of_log, of_exp);
}
#endif
