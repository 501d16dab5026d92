/* Innermost loops of the kernels on eight floats at a time.

   GCC and Clang compile the vector type for any processor (two SSE registers, one AVX register, NEON); other compilers
   take the plain loops below, which give the same sums up to rounding. */
#ifndef CROWDSOURCE_SIMD_H
#define CROWDSOURCE_SIMD_H
#include <stddef.h>

#if defined(__GNUC__)
typedef float cs_v8 __attribute__((vector_size(32), aligned(4), may_alias));
#define CS_LOAD(p) (*(const cs_v8 *)(p))

static inline double cs_total(cs_v8 v)
{
    return ((double)v[0]+v[4]) + ((double)v[1]+v[5]) + ((double)v[2]+v[6]) + ((double)v[3]+v[7]);
}

/* The nine sums over pixels of products of three planes t with three planes p. Planes of t are t_plane apart with rows
   t_row apart, p likewise; rows hold 8*vectors floats. */
static inline void cs_products(const float *t, ptrdiff_t t_plane, ptrdiff_t t_row, const float *p, ptrdiff_t p_plane,
                               ptrdiff_t p_row, int rows, int vectors, double *sums)
{
    cs_v8 s00 = {0}, s01 = {0}, s02 = {0}, s10 = {0}, s11 = {0}, s12 = {0}, s20 = {0}, s21 = {0}, s22 = {0};
    for (int j = 0; j < rows; j++) {
        const float *a = t + j*t_row, *b = p + j*p_row;
        for (int v = 0; v < vectors; v++, a += 8, b += 8) {
            cs_v8 a0 = CS_LOAD(a), a1 = CS_LOAD(a+t_plane), a2 = CS_LOAD(a+2*t_plane);
            cs_v8 b0 = CS_LOAD(b), b1 = CS_LOAD(b+p_plane), b2 = CS_LOAD(b+2*p_plane);
            s00 += a0*b0; s01 += a0*b1; s02 += a0*b2;
            s10 += a1*b0; s11 += a1*b1; s12 += a1*b2;
            s20 += a2*b0; s21 += a2*b1; s22 += a2*b2;
        }
    }
    sums[0] = cs_total(s00); sums[1] = cs_total(s01); sums[2] = cs_total(s02);
    sums[3] = cs_total(s10); sums[4] = cs_total(s11); sums[5] = cs_total(s12);
    sums[6] = cs_total(s20); sums[7] = cs_total(s21); sums[8] = cs_total(s22);
}

/* 32 neighbouring outputs of a correlation: out[k] = sum over j, i of kernel[j*size+i] image[j*row + i + k]. */
static inline void cs_correlate32(const float *image, ptrdiff_t row, const float *kernel, int size, float *out)
{
    cs_v8 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    for (int j = 0; j < size; j++) {
        const float *a = image + j*row;
        for (int i = 0; i < size; i++, a++) {
            float k = kernel[j*size+i];
            s0 += k*CS_LOAD(a); s1 += k*CS_LOAD(a+8); s2 += k*CS_LOAD(a+16); s3 += k*CS_LOAD(a+24);
        }
    }
    for (int l = 0; l < 8; l++) {
        out[l] = s0[l]; out[l+8] = s1[l]; out[l+16] = s2[l]; out[l+24] = s3[l];
    }
}
#else
static void cs_products(const float *t, ptrdiff_t t_plane, ptrdiff_t t_row, const float *p, ptrdiff_t p_plane,
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

static void cs_correlate32(const float *image, ptrdiff_t row, const float *kernel, int size, float *out)
{
    for (int k = 0; k < 32; k++) {
        float s = 0;
        for (int j = 0; j < size; j++)
            for (int i = 0; i < size; i++) s += kernel[j*size+i]*image[j*row+i+k];
        out[k] = s;
    }
}
#endif
#endif
