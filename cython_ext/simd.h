/* Innermost loops of the kernels on eight floats at a time.

   GCC and Clang compile each loop twice on x86-64: for any processor, and for those with AVX2 and FMA; which one runs is
   decided at each call by the processor's own word (one load and a predicted branch). On other processors the vector type
   becomes whatever they have; other compilers take the plain loops, which give the same sums up to rounding. */
#ifndef CROWDSOURCE_SIMD_H
#define CROWDSOURCE_SIMD_H
#include <stddef.h>

#if defined(__GNUC__)
typedef float cs_v8 __attribute__((vector_size(32), aligned(4), may_alias));
#define CS_LOAD(p) (*(const cs_v8 *)(p))
#define CS_STORE(p, v) (*(cs_v8 *)(p) = (v))

/* The sum of eight floats in double precision. */
#define CS_TOTAL(v) (((double)v[0]+v[4]) + ((double)v[1]+v[5]) + ((double)v[2]+v[6]) + ((double)v[3]+v[7]))

#define CS_LOOPS(NAME, TARGET) \
/* The nine sums over pixels of products of three planes t with three planes p. Planes of t are t_plane apart with rows \
   t_row apart, p likewise; rows hold 8*vectors floats. */ \
TARGET static void NAME(products)(const float *t, ptrdiff_t t_plane, ptrdiff_t t_row, const float *p, ptrdiff_t p_plane, \
                                  ptrdiff_t p_row, int rows, int vectors, double *sums) \
{ \
    cs_v8 s00 = {0}, s01 = {0}, s02 = {0}, s10 = {0}, s11 = {0}, s12 = {0}, s20 = {0}, s21 = {0}, s22 = {0}; \
    for (int j = 0; j < rows; j++) { \
        const float *a = t + j*t_row, *b = p + j*p_row; \
        for (int v = 0; v < vectors; v++, a += 8, b += 8) { \
            cs_v8 a0 = CS_LOAD(a), a1 = CS_LOAD(a+t_plane), a2 = CS_LOAD(a+2*t_plane); \
            cs_v8 b0 = CS_LOAD(b), b1 = CS_LOAD(b+p_plane), b2 = CS_LOAD(b+2*p_plane); \
            s00 += a0*b0; s01 += a0*b1; s02 += a0*b2; \
            s10 += a1*b0; s11 += a1*b1; s12 += a1*b2; \
            s20 += a2*b0; s21 += a2*b1; s22 += a2*b2; \
        } \
    } \
    sums[0] = CS_TOTAL(s00); sums[1] = CS_TOTAL(s01); sums[2] = CS_TOTAL(s02); \
    sums[3] = CS_TOTAL(s10); sums[4] = CS_TOTAL(s11); sums[5] = CS_TOTAL(s12); \
    sums[6] = CS_TOTAL(s20); sums[7] = CS_TOTAL(s21); sums[8] = CS_TOTAL(s22); \
} \
/* 64 neighbouring outputs of a correlation: out[k] = sum over j, i of kernel[j*size+i] image[j*row + i + k]. */ \
TARGET static void NAME(correlate)(const float *image, ptrdiff_t row, const float *kernel, int size, float *out) \
{ \
    cs_v8 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0}, s7 = {0}; \
    for (int j = 0; j < size; j++) { \
        const float *a = image + j*row; \
        for (int i = 0; i < size; i++, a++) { \
            float k = kernel[j*size+i]; \
            s0 += k*CS_LOAD(a); s1 += k*CS_LOAD(a+8); s2 += k*CS_LOAD(a+16); s3 += k*CS_LOAD(a+24); \
            s4 += k*CS_LOAD(a+32); s5 += k*CS_LOAD(a+40); s6 += k*CS_LOAD(a+48); s7 += k*CS_LOAD(a+56); \
        } \
    } \
    CS_STORE(out, s0); CS_STORE(out+8, s1); CS_STORE(out+16, s2); CS_STORE(out+24, s3); \
    CS_STORE(out+32, s4); CS_STORE(out+40, s5); CS_STORE(out+48, s6); CS_STORE(out+56, s7); \
} \
/* A six-tap filter of each row: out[i] = sum over k of w[k] a[i + k*step]. The last vector of a row may overlap the one
   before. */ \
TARGET static void NAME(six_taps)(const float *a, ptrdiff_t a_row, ptrdiff_t step, const float *w, int rows, int n, float *out, \
                                  ptrdiff_t out_row) \
{ \
    float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5]; \
    for (int r = 0; r < rows; r++, a += a_row, out += out_row) { \
        int i = 0; \
        for (; n >= 8 && i < n; i += 8) { \
            int j = i+8 <= n ? i : n-8; \
            const float *b = a+j; \
            CS_STORE(out+j, w0*CS_LOAD(b)+w1*CS_LOAD(b+step)+w2*CS_LOAD(b+2*step)+w3*CS_LOAD(b+3*step) \
                            +w4*CS_LOAD(b+4*step)+w5*CS_LOAD(b+5*step)); \
        } \
        for (; i < n; i++) \
            out[i] = w0*a[i]+w1*a[i+step]+w2*a[i+2*step]+w3*a[i+3*step]+w4*a[i+4*step]+w5*a[i+5*step]; \
    } \
} \
/* In each row, out[i] = sum over k of f[k] a[k*plane + i]. */ \
TARGET static void NAME(combine)(const float *a, ptrdiff_t a_row, ptrdiff_t plane, const float *f, int count, int rows, int n, \
                                 float *out, ptrdiff_t out_row) \
{ \
    for (int r = 0; r < rows; r++, a += a_row, out += out_row) { \
        int i = 0; \
        for (; n >= 8 && i < n; i += 8) { \
            int j = i+8 <= n ? i : n-8; \
            cs_v8 s = f[0]*CS_LOAD(a+j); \
            for (int k = 1; k < count; k++) s += f[k]*CS_LOAD(a+k*plane+j); \
            CS_STORE(out+j, s); \
        } \
        for (; i < n; i++) { \
            float s = 0; \
            for (int k = 0; k < count; k++) s += f[k]*a[k*plane+i]; \
            out[i] = s; \
        } \
    } \
} \
/* Three planes p times weights w into planes t, and the sums of each with a residual r. Planes of p are p_plane apart with rows \
   p_row apart, t likewise; rows of w and r are row apart. */ \
TARGET static void NAME(weigh)(const float *w, const float *r, ptrdiff_t row, const float *p, ptrdiff_t p_plane, ptrdiff_t p_row, \
                               int rows, int n, float *t, ptrdiff_t t_plane, ptrdiff_t t_row, double *sums) \
{ \
    for (int q = 0; q < 3; q++) { \
        cs_v8 s = {0}; \
        double rest = 0; \
        for (int j = 0; j < rows; j++) { \
            const float *a = w + j*row, *b = r + j*row, *c = p + q*p_plane + j*p_row; \
            float *out = t + q*t_plane + j*t_row; \
            int i = 0; \
            for (; i+8 <= n; i += 8) { \
                cs_v8 v = CS_LOAD(a+i)*CS_LOAD(c+i); \
                CS_STORE(out+i, v); \
                s += v*CS_LOAD(b+i); \
            } \
            for (; i < n; i++) { \
                out[i] = a[i]*c[i]; \
                rest += (double)out[i]*b[i]; \
            } \
        } \
        sums[q] = CS_TOTAL(s) + rest; \
    } \
} \
/* out[i] += f*a[i]. */ \
TARGET static void NAME(add)(const float *a, float f, int n, float *out) \
{ \
    for (int i = 0; i < n; i++) out[i] += f*a[i]; \
}

#define CS_PLAIN(name) cs_plain_##name
CS_LOOPS(CS_PLAIN, )
#if defined(__x86_64__)
#define CS_AVX2(name) cs_avx2_##name
CS_LOOPS(CS_AVX2, __attribute__((target("avx2,fma"))))
#define CS_CALL(name, ...) \
    do { \
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) cs_avx2_##name(__VA_ARGS__); \
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

static void cs_plain_correlate(const float *image, ptrdiff_t row, const float *kernel, int size, float *out)
{
    for (int k = 0; k < 64; k++) {
        float s = 0;
        for (int j = 0; j < size; j++)
            for (int i = 0; i < size; i++) s += kernel[j*size+i]*image[j*row+i+k];
        out[k] = s;
    }
}

static void cs_plain_six_taps(const float *a, ptrdiff_t a_row, ptrdiff_t step, const float *w, int rows, int n, float *out,
                              ptrdiff_t out_row)
{
    for (int r = 0; r < rows; r++, a += a_row, out += out_row)
        for (int i = 0; i < n; i++)
            out[i] = w[0]*a[i]+w[1]*a[i+step]+w[2]*a[i+2*step]+w[3]*a[i+3*step]+w[4]*a[i+4*step]+w[5]*a[i+5*step];
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

static void cs_plain_add(const float *a, float f, int n, float *out)
{
    for (int i = 0; i < n; i++) out[i] += f*a[i];
}
#define CS_CALL(name, ...) cs_plain_##name(__VA_ARGS__)
#endif

static inline void cs_products(const float *t, ptrdiff_t t_plane, ptrdiff_t t_row, const float *p, ptrdiff_t p_plane,
                               ptrdiff_t p_row, int rows, int vectors, double *sums)
{
    CS_CALL(products, t, t_plane, t_row, p, p_plane, p_row, rows, vectors, sums);
}

static inline void cs_correlate64(const float *image, ptrdiff_t row, const float *kernel, int size, float *out)
{
    CS_CALL(correlate, image, row, kernel, size, out);
}

static inline void cs_six_taps(const float *a, ptrdiff_t a_row, ptrdiff_t step, const float *w, int rows, int n, float *out,
                               ptrdiff_t out_row)
{
    CS_CALL(six_taps, a, a_row, step, w, rows, n, out, out_row);
}

static inline void cs_combine(const float *a, ptrdiff_t a_row, ptrdiff_t plane, const float *f, int count, int rows, int n,
                              float *out, ptrdiff_t out_row)
{
    CS_CALL(combine, a, a_row, plane, f, count, rows, n, out, out_row);
}

static inline void cs_weigh(const float *w, const float *r, ptrdiff_t row, const float *p, ptrdiff_t p_plane, ptrdiff_t p_row,
                            int rows, int n, float *t, ptrdiff_t t_plane, ptrdiff_t t_row, double *sums)
{
    CS_CALL(weigh, w, r, row, p, p_plane, p_row, rows, n, t, t_plane, t_row, sums);
}

static inline void cs_add(const float *a, float f, int n, float *out)
{
    CS_CALL(add, a, f, n, out);
}
#endif
