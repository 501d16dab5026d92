"""Slow twins of the kernels: the same signatures and results, in numpy and as simple as possible.

They are what the kernels are tested against, and the place to read what a kernel does. Results are float64 where a kernel
rounds to float32.
"""
import numpy as np

MEASURED = ("qf", "rchi2", "fracflux", "fluxlbs", "dfluxlbs", "fwhm", "spread_model", "dspread_model", "fluxiso", "xiso", "yiso")


def quintic(t):
    """Quintic B-spline at points t, by its truncated powers."""
    return sum(c*np.maximum(t+3-k, 0)**5 for k, c in enumerate((1, -6, 15, -20, 15, -6, 1)))/120


def quintic_slope(t):
    """Derivative of `quintic`."""
    return sum(c*np.maximum(t+3-k, 0)**4 for k, c in enumerate((1, -6, 15, -20, 15, -6, 1)))/24


def render(grids, factors, x, y, size, oversampling, derivatives):
    """Twin of `render.render`: the spline summed over all of its coefficients at every pixel."""
    knots = np.arange(grids.shape[1])-grids.shape[1]//2
    pixels = np.arange(size)-size//2
    out = np.zeros((3, len(x), size, size))
    for n in range(len(x)):
        own = np.tensordot(factors[n].astype(float), grids.astype(float), axes=1)
        at_x = oversampling*(pixels-(x[n]-np.floor(x[n]+0.5)))
        at_y = oversampling*(pixels-(y[n]-np.floor(y[n]+0.5)))
        along_x, along_y = at_x[:, None]-knots, at_y[:, None]-knots
        out[0, n] = quintic(along_y)@own@quintic(along_x).T
        out[1, n] = -oversampling*quintic(along_y)@own@quintic_slope(along_x).T
        out[2, n] = -oversampling*quintic_slope(along_y)@own@quintic(along_x).T
    return tuple(out) if derivatives else (out[0], out[1, :0], out[2, :0])


def render_transposed(images, factors, x, y, side, oversampling):
    """Twin of `render.render_transposed`: each coefficient rendered on its own."""
    grids = np.zeros((factors.shape[1], side, side))
    out = grids.copy()
    for where in np.ndindex(grids.shape):
        grids[where] = 1
        out[where] = (render(grids, factors, x, y, images.shape[1], oversampling, False)[0]*images).sum()
        grids[where] = 0
    return out


def render_packed(grids, factors, x, y, size, oversampling, buffer, offset, stride):
    """Twin of `render.render_packed`."""
    stamps = render(grids, factors, x, y, size, oversampling, True)
    for q in range(3):
        pack(stamps[q], buffer, np.asarray(offset)+q*size*stride, stride)


def add_rendered(image, grids, factors, x, y, flux, size, oversampling, top=0):
    """Twin of `render.add_rendered`."""
    x0, y0 = (np.floor(np.asarray(v)+0.5).astype(int)-size//2 for v in (x, y))
    add_stamps(image, render(grids, factors, x, y, size, oversampling, False)[0], x0, y0-top, flux)


def correlate(image, kernel, weight=1, factor=1):
    """Twin of `detect.correlate`, for all rows."""
    reach = kernel.shape[0]//2
    padded = np.pad(np.asarray(image, dtype=float)*weight, reach)
    ny, nx = image.shape
    out = np.zeros((ny, nx))
    for j in range(2*reach+1):
        for i in range(2*reach+1):
            out += kernel[j, i]*padded[j:j+ny, i:i+nx]
    return out*factor


def correlate_at(image, weight, kernel, y, x):
    """Twin of `detect.correlate_at`."""
    return correlate(image*weight, kernel)[y, x]


def bits_near(mask, bits, y, x, steps):
    """Twin of `detect.bits_near`."""
    row, column = np.nonzero(mask & bits)
    return np.array([(np.abs(row-j)+np.abs(column-i) <= steps).any() for j, i in zip(y, x)], bool)


def local_maxima(image, threshold):
    """Twin of `detect.local_maxima`."""
    ny, nx = image.shape
    found = []
    for y in range(ny):
        for x in range(nx):
            box = [(j, i) for j in range(max(0, y-1), min(ny, y+2)) for i in range(max(0, x-1), min(nx, x+2)) if (j, i) != (y, x)]
            higher = any(image[j, i] > image[y, x] for j, i in box)
            earlier = any(image[j, i] == image[y, x] and (j, i) < (y, x) for j, i in box)
            if image[y, x] > threshold and not higher and not earlier:
                found.append((y, x))
    return tuple(np.array(found, dtype=np.int64).reshape(-1, 2).T)


def pack(stamps, buffer, offset, stride):
    """Twin of `design.pack`."""
    size = stamps.shape[1]
    for stamp, start in zip(stamps, offset):
        for j in range(size):
            buffer[start+j*stride:start+j*stride+size] = stamp[j]
            buffer[start+j*stride+size:start+(j+1)*stride] = 0


def add_stamps(image, stamps, x0, y0, flux):
    """Twin of `design.add_stamps`."""
    ny, nx = image.shape
    for stamp, x, y, f in zip(stamps, x0, y0, flux):
        for j in range(len(stamp)):
            for i in range(len(stamp)):
                if 0 <= y+j < ny and 0 <= x+i < nx:
                    image[y+j, x+i] += f*stamp[j, i]


def boxes(layout):
    """The pixels of each stamp, as a set of (y, x), on the image or off it."""
    return [{(y, x) for y in range(y0, y0+size) for x in range(x0, x0+size)} for _, size, _, x0, y0 in np.asarray(layout)]


def overlaps(layout, shape, least=1):
    """Twin of `design.overlaps`; partners are listed in ascending order."""
    pixels, size = boxes(layout), np.asarray(layout)[:, 1]
    on_image = [any(0 <= y < shape[0] and 0 <= x < shape[1] for y, x in own) for own in pixels]
    indptr, indices = [0], []

    def shared(a, b):
        common = pixels[a] & pixels[b]
        return min((len({p[axis] for p in common}) for axis in (0, 1)), default=0) >= least

    for a in range(len(size)):
        owned = [b for b in range(len(size)) if size[b] < size[a] or (size[b] == size[a] and b > a)]
        indices += [b for b in owned if on_image[a] and on_image[b] and shared(a, b)]
        indptr.append(len(indices))
    return np.array(indptr, dtype=np.int64), np.array(indices, dtype=np.int32)


def columns(buffer, layout, shape):
    """The three stamps of every source pasted into an empty image, shape (n, 3, ny, nx), float64."""
    ny, nx = shape
    out = np.zeros((len(layout), 3, ny, nx))
    for k, (offset, size, stride, x0, y0) in enumerate(np.asarray(layout)):
        for q in range(3):
            for j in range(size):
                for i in range(size):
                    if 0 <= y0+j < ny and 0 <= x0+i < nx:
                        out[k, q, y0+j, x0+i] = buffer[offset+(q*size+j)*stride+i]
    return out


def normal_equations(buffer, layout, ivar, residual, indptr, indices):
    """Twin of `design.normal_equations`."""
    planes = columns(buffer, layout, ivar.shape).reshape(len(layout), 3, -1)
    weight, left = np.asarray(ivar, dtype=float).ravel(), np.asarray(residual, dtype=float).ravel()
    diagonal = np.array([(p*weight)@p.T for p in planes]).reshape(-1, 3, 3)
    rhs = np.array([(p*weight)@left for p in planes]).reshape(-1, 3)
    owner = np.repeat(np.arange(len(layout)), np.diff(indptr))
    blocks = np.array([(planes[a]*weight)@planes[b].T for a, b in zip(owner, indices)]).reshape(-1, 3, 3)
    return diagonal, blocks, rhs


def project(buffer, layout, image, n_parameters):
    """Twin of `design.project`."""
    sums = columns(buffer, layout, image.shape).reshape(len(layout), 3, -1)@np.asarray(image, dtype=float).ravel()
    return sums*(np.arange(3) < n_parameters)


def spread(buffer, layout, parameters, n_parameters, image):
    """Twin of `design.spread`."""
    image += np.einsum("nqyx,nq->yx", columns(buffer, layout, image.shape)[:, :n_parameters],
                       np.asarray(parameters)[:, :n_parameters])


def sparse_columns(buffer, layout, inverse_sigma, n_parameters):
    """Twin of `design.sparse_columns`; pixels under a stamp are stored even where its value is zero."""
    ny, nx = inverse_sigma.shape
    values, rows, indptr = [], [], [0]
    for offset, size, stride, x0, y0 in np.asarray(layout):
        for q in range(n_parameters):
            for j in range(size):
                for i in range(size):
                    if 0 <= y0+j < ny and 0 <= x0+i < nx:
                        values.append(buffer[offset+(q*size+j)*stride+i]*inverse_sigma[y0+j, x0+i])
                        rows.append((y0+j)*nx+x0+i)
            indptr.append(len(rows))
    return np.array(values), np.array(rows, dtype=np.int32), np.array(indptr, dtype=np.int64)


def dense(diagonal, blocks, indptr, indices):
    """The whole normal matrix, shape (3n, 3n)."""
    n = len(diagonal)
    matrix = np.zeros((n, 3, n, 3))
    for a in range(n):
        matrix[a, :, a] = np.reshape(diagonal[a], (3, 3))
        for m in range(indptr[a], indptr[a+1]):
            block = np.reshape(blocks[m], (3, 3))
            matrix[a, :, indices[m]] = block
            matrix[indices[m], :, a] = block.T
    return matrix.reshape(3*n, 3*n)


def conjugate_gradients(diagonal, blocks, indptr, indices, rhs, n_parameters, tolerance=0., max_iterations=0):
    """Twin of `solve.conjugate_gradients`: the exact solution; sources without information stay at 0."""
    matrix = dense(diagonal, blocks, indptr, indices)
    used = np.flatnonzero((np.arange(len(matrix)) % 3 < n_parameters) & (np.diag(matrix) > 0))
    x = np.zeros(len(matrix))
    x[used] = np.linalg.solve(matrix[np.ix_(used, used)], np.ravel(rhs)[used])
    return x.reshape(-1, 3), 0, 0.


def product(diagonal, blocks, indptr, indices, x):
    """Twin of `solve.product`: the whole matrix times a vector."""
    return (dense(diagonal, blocks, indptr, indices)@np.ravel(x)).reshape(-1, 3)


def places(indptr, indices, part_indptr, part_indices, rows):
    """Twin of `shared.places`: pairs looked up in a dict."""
    number = {(a, int(indices[m])): m for a in range(len(indptr)-1) for m in range(indptr[a], indptr[a+1])}
    owner = rows[np.repeat(np.arange(len(rows)), np.diff(part_indptr))]
    return np.array([number.get((min(a, b), max(a, b)), -1) for a, b in zip(owner, rows[part_indices[:len(owner)]])], np.int64)


def add_blocks(blocks, part_indptr, part_indices, rows, factors, where, total):
    """Twin of `shared.add_blocks`."""
    for a in range(len(rows)):
        for m in range(part_indptr[a], part_indptr[a+1]):
            b = part_indices[m]
            block = factors[a].T@blocks[m]@factors[b]
            total[where[m]] += block if rows[a] < rows[b] else block.T


def block_between(blocks, indptr, indices, near):
    """The block of every pair of partners, rows those of the first, as a dict."""
    return {(a, int(indices[m])): np.reshape(blocks[near[m]], (3, 3)) if near[m] >= 0 else np.reshape(blocks[~near[m]], (3, 3)).T
            for a in range(len(indptr)-1) for m in range(indptr[a], indptr[a+1])}


def strongest(diagonal, between, k, end, least, most):
    """The `most` partners of k, of those below `end`, with the largest flux correlation above `least`."""
    partners = [b for a, b in between if a == k and b < end]
    strength = [abs(between[k, b][0, 0])/np.sqrt(diagonal[k][0]*diagonal[b][0]+1e-300) for b in partners]
    return [partners[m] for m in np.argsort(strength)[::-1] if strength[m] >= least][:most]


def dense_of(diagonal, between, members):
    """The dense normal matrix of a few sources."""
    return np.block([[np.reshape(diagonal[a], (3, 3)) if a == b else between.get((a, b), np.zeros((3, 3))) for b in members]
                     for a in members])


def partners(indptr, indices):
    """Twin of `solve.partners`: pairs sorted by source."""
    owner = np.repeat(np.arange(len(indptr)-1), np.diff(indptr))
    number, source = np.arange(len(owner)), np.r_[owner, indices]
    order = np.argsort(source, kind="stable")
    return (np.searchsorted(source[order], np.arange(len(indptr))), np.r_[indices, owner][order],
            np.r_[number, ~number][order])


def local_covariance(diagonal, blocks, indptr, indices, near, least, most):
    """Twin of `solve.local_covariance`: the matrix of a source and its chosen neighbours inverted as a whole."""
    between = block_between(blocks, indptr, indices, near)
    result = np.full((len(diagonal), 9), np.inf)
    for k in np.flatnonzero(np.asarray(diagonal)[:, 0] > 0):
        members = [k, *strongest(diagonal, between, k, len(diagonal), least, most)]
        result[k] = np.linalg.inv(dense_of(diagonal, between, members))[:3, :3].ravel()
    return result


def trial_fluxes(diagonal, blocks, indptr, indices, near, rhs, first, least, most):
    """Twin of `solve.trial_fluxes`: the whole system of a candidate's flux and its neighbours solved."""
    between = block_between(blocks, indptr, indices, near)
    result = np.tile([0., np.inf], (len(diagonal)-first, 1))
    for k in range(first, len(diagonal)):
        if diagonal[k][0] > 0:
            members = [*strongest(diagonal, between, k, first, least, most), k]
            size = 3*len(members)-2
            matrix = dense_of(diagonal, between, members)[:size, :size]
            variance = np.linalg.inv(matrix)[-1, -1]
            if variance*diagonal[k][0] < 1e6:
                result[k-first] = np.linalg.solve(matrix, np.concatenate([rhs[m] for m in members])[:size])[-1], variance
    return result


def block_statistics(image, weight, edges_y, edges_x, clip):
    """Twin of `sky.block_statistics`."""
    values = np.full((len(edges_y)-1, len(edges_x)-1, 4), np.nan)
    count = np.zeros(values.shape[:2], np.int64)
    for j in range(len(edges_y)-1):
        for i in range(len(edges_x)-1):
            box = np.s_[edges_y[j]:edges_y[j+1], edges_x[i]:edges_x[i+1]]
            good = weight[box] > 0
            v, w = image[box][good].astype(float), weight[box][good].astype(float)
            count[j, i] = len(v)
            if len(v):
                low, middle, high = np.quantile(v, (0.158655, 0.5, 0.841345))
                kept = np.abs(v-middle) <= clip*(middle-low)
                mean = (w*v)[kept].sum()/w[kept].sum() if kept.any() else middle
                values[j, i] = low, middle, high, mean
    return values, count


def centroids(psf, light, weight, weighted, radius):
    """Twin of `centroid.centroids`."""
    size = psf.shape[1]
    at = np.arange(size)-size//2
    inside = at[:, None]**2+at[None, :]**2 <= radius*radius
    measured, expected = np.zeros((2, len(psf), 2))
    for k in range(len(psf)):
        w = weight[k].astype(float)*(psf[k] if weighted else inside)
        both = [(w*v, (w*v).sum()) for v in (light[k], psf[k])]
        if all(total > 0 for _, total in both):
            measured[k], expected[k] = (((v*at[None, :]).sum()/total, (v*at[:, None]).sum()/total) for v, total in both)
    return measured, expected


def spline_rows(values, bends, start, weights, out):
    """Twin of `sky.spline_rows`."""
    for x in range(out.shape[1]):
        p = np.searchsorted(start, x, side="right")-1
        ends = np.stack([values[:, p], values[:, p+1], bends[:, p], bends[:, p+1]])
        out[:, x] = weights[:, x].astype(float)@ends


def cutouts(plane, x0, y0, side):
    """Twin of `measure.cutouts`."""
    ny, nx = plane.shape
    return np.array([[[plane[y, x] if 0 <= y < ny and 0 <= x < nx else 0 for x in range(left, left+side)]
                      for y in range(low, low+side)] for left, low in zip(x0, y0)], dtype=np.float32).reshape(-1, side, side)


def chi2(data, sky, model, ivar):
    """Twin of `measure.chi2`."""
    left = data.astype(float)-sky-model
    return (left**2*ivar).sum(), (ivar > 0).sum()


def measure(residual, model, ivar, stamps, x0, y0, flux):
    """Twin of `measure.measure`."""
    p_all, dx_all, dy_all, g_all = stamps
    size, (ny, nx) = p_all.shape[1], residual.shape
    out = np.zeros((len(flux), len(MEASURED)))
    for k in range(len(flux)):
        pixels = [(j, i, y0[k]+j, x0[k]+i) for j in range(size) for i in range(size)]
        good = [(j, i, y, x) for j, i, y, x in pixels if 0 <= y < ny and 0 <= x < nx and ivar[y, x] > 0]
        total, square = p_all[k].sum(dtype=float), (p_all[k].astype(float)**2).sum()
        out[k, 5] = 1.18*total/np.sqrt(np.pi*square) if square > 0 else 0
        if good:
            under = np.array([[plane[k, j, i] for j, i, _, _ in good] for plane in (p_all, dx_all, dy_all, g_all)], dtype=float)
            pixel_values = np.array([[v[y, x] for _, _, y, x in good] for v in (residual, model, ivar)], dtype=float)
            _measure_good(out[k], under, pixel_values, flux[k], total)
    return out


def _measure_good(out, stamps, values, flux, total):
    """The measurements on a source's good pixels, into its row."""
    (p, dx, dy, g), (r, m, w) = stamps, values
    light = r+flux*p
    if not ((w*p*p).sum() > 0 and p.sum() > 0):
        return
    out[0] = p.sum()/total
    out[1] = (p*r*r*w).sum()/p.sum()
    out[2] = (w*p*light).sum()/(w*p*(r+m)).sum() if (w*p*(r+m)).sum() != 0 else 0
    flat = np.stack([p, np.ones_like(p)])
    normal = (flat*w)@flat.T
    if np.linalg.det(normal) > 1e-12*normal[0, 0]*normal[1, 1]:
        covariance = np.linalg.inv(normal)
        out[3], out[4] = (covariance@(flat*w)@light)[0], np.sqrt(covariance[0, 0])
    sharp, wide = (w*p*light).sum(), (w*g*light).sum()
    if sharp != 0:
        out[6] = wide/sharp-(w*p*g).sum()/(w*p*p).sum()
        square = (w*g*g).sum()*sharp**2+(w*p*p).sum()*wide**2-2*sharp*wide*(w*p*g).sum()
        out[7] = np.sqrt(max(square, 0))/sharp**2
    moving = np.stack([p, dx, dy])
    normal = (moving*w)@moving.T
    if np.linalg.det(normal) > 0:
        solution = np.linalg.solve(normal, (moving*w)@light)
        out[8] = solution[0]
        if solution[0] > 0:
            out[9:] = solution[1:]/solution[0]


def neighbours(x, y, centre_x, centre_y, reach):
    """Twin of `near.neighbours`, ascending around each centre."""
    near = [np.flatnonzero((x-a)**2+(y-b)**2 <= r*r) for a, b, r in zip(centre_x, centre_y, reach)]
    return np.r_[0, np.cumsum([len(n) for n in near])].astype(np.intp), np.concatenate([np.zeros(0, np.intp), *near])
