/* A loop of simd.h that any compiler makes vectors of by itself; see simd_loops.h for what is set. */

/* Sums over n pixels for the measurements of a source: PSF p, smeared PSF g, gradient dx, dy, residual r, model m, inverse
   variance w. */
CS_TARGET static void CS_NAME(measure_sums)(const float *p, const float *g, const float *dx, const float *dy, const float *r,
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
