"""Good arguments of every public kernel, by name, for tests that go through all of them."""
from dataclasses import dataclass

import numpy as np
from crowdsource.cython_ext import (
    artifacts,
    average,
    centroid,
    design,
    detect,
    match,
    measure,
    merge,
    near,
    order,
    positions,
    render,
    settling,
    shared,
    sky,
    solve,
    sphere,
)

SHAPE = (40, 37)
MODULES = (artifacts, average, centroid, design, detect, match, measure, merge, near, order, positions, render, settling, shared,
           sky, solve, sphere)


@dataclass(frozen=True, eq=False)
class Call:
    """A kernel and its arguments, in order; what it changes in place is named."""
    kernel: object
    arguments: dict
    changed: tuple = ()

    def __call__(self, **other):
        """Everything that the kernel gives or changes, as a list; some arguments may be others."""
        arguments = self.arguments | other
        arguments |= {name: arguments[name].copy() for name in self.changed if arguments[name] is not None}
        given = self.kernel(*arguments.values())
        return [*(given if isinstance(given, tuple) else [given]), *(arguments[name] for name in self.changed)]


def floats(rng, *shape):
    """Normal random numbers, float32."""
    return rng.normal(size=shape).astype(np.float32)


def stamps_and_layout(rng, n=40, sizes=(5, 9, 13, 23)):
    """A buffer of random stamps, zero behind their rows, and its layout; some stamps leave the image of `SHAPE`."""
    size = rng.choice(sizes, n)
    stride = (size+7)//8*8
    offset = np.r_[0, np.cumsum(3*size*stride)]
    layout = np.stack([offset[:-1], size, stride, rng.integers(-12, SHAPE[1], n), rng.integers(-12, SHAPE[0], n)], axis=1)
    buffer = np.zeros(offset[-1]+8, np.float32)
    for start, side, row, *_ in layout:
        buffer[start:start+3*side*row].reshape(-1, row)[:, :side] = rng.normal(size=(3*side, side))
    return buffer, layout.astype(np.intp)


def pairs_of_all(indptr, indices, rows, count):
    """The pairs of an image in numbers of all, each at its smaller number, partners ascending."""
    ends = np.sort(np.stack([rows[np.repeat(np.arange(len(rows)), np.diff(indptr))], rows[indices]]), axis=0)
    ends = ends[:, np.lexsort(ends[::-1])]
    return dict(indptr=np.searchsorted(ends[0], np.arange(count+1)).astype(np.int64), indices=ends[1].astype(np.int32))


def design_calls(rng):
    """Kernels of `design`, `solve` and `shared`, and the system that these solve."""
    buffer, layout = stamps_and_layout(rng)
    stamps, corner = floats(rng, 12, 9, 9), rng.integers(-12, 40, (2, 12))
    ivar, residual = rng.uniform(0.5, 2, SHAPE).astype(np.float32), floats(rng, *SHAPE)
    indptr, indices = design.overlaps(layout, SHAPE)
    normal, blocks, rhs = design.normal_equations(buffer, layout, ivar, residual, indptr, indices)
    # much heavier on the diagonal, so that random stamps make a positive matrix
    matrix = dict(diagonal=(normal+2000*np.eye(3)).reshape(-1, 9), blocks=blocks.reshape(-1, 9))
    both = dict(zip(("indptr", "indices", "near"), solve.partners(indptr, indices)))
    pairs, stamp_set = dict(indptr=indptr, indices=indices), dict(buffer=buffer, layout=layout)
    # an image's sources among those of all images, of which they are all but every sixth, in another order
    rows = rng.permutation(np.flatnonzero(np.arange(48) % 6)).astype(np.int32)
    part = dict(part_indptr=indptr, part_indices=indices, rows=rows)
    everyone = pairs_of_all(indptr, indices, rows, 48)
    where = shared.places(*everyone.values(), *part.values())
    return [
        Call(design.pack, dict(stamps=stamps, buffer=np.ones(12*9*16, np.float32), offset=np.arange(12)*9*16, stride=16),
             ("buffer",)),
        Call(design.add_stamps, dict(image=residual, stamps=stamps, x0=corner[0], y0=corner[1], flux=rng.normal(size=12)),
             ("image",)),
        Call(design.overlaps, dict(layout=layout, shape=SHAPE, least=2, cell=16)),
        Call(design.normal_equations, dict(**stamp_set, ivar=ivar, residual=residual, **pairs)),
        Call(design.project, dict(**stamp_set, image=residual, n_parameters=3)),
        Call(design.spread, dict(**stamp_set, parameters=rng.normal(size=(40, 3)), n_parameters=3, image=residual), ("image",)),
        Call(design.sparse_columns, dict(**stamp_set, inverse_sigma=ivar, n_parameters=3)),
        Call(solve.conjugate_gradients, dict(**matrix, **pairs, rhs=rhs, n_parameters=3, tolerance=1e-6, max_iterations=50)),
        Call(solve.product, dict(**matrix, **pairs, x=rng.normal(size=(40, 3)))),
        Call(shared.places, dict(**everyone, **part)),
        Call(shared.add_blocks, dict(blocks=blocks, **part, factors=rng.normal(size=(40, 3, 3)), where=where,
                                     total=floats(rng, len(everyone["indices"]), 3, 3)), ("total",)),
        Call(solve.partners, pairs),
        Call(solve.local_covariance, dict(**matrix, **both, least=0.01, most=6)),
        Call(solve.trial_fluxes, dict(**matrix, **both, rhs=rhs, first=30, least=0.01, most=6))]


def stamp_calls(rng):
    """Kernels of `render`, `measure`, `merge` and `centroid`."""
    x, y, flux = rng.uniform(-9, 45, 20), rng.uniform(-9, 45, 20), rng.normal(size=20)
    star = dict(grids=floats(rng, 3, 33, 33), factors=floats(rng, 20, 3), x=x, y=y)
    sampled, image, ivar = dict(size=9, oversampling=2), floats(rng, *SHAPE), rng.uniform(0, 2, SHAPE).astype(np.float32)
    corner, pair = rng.integers(-12, 45, (2, 20)), rng.integers(-4, 6, (2, 6, 3))
    stamps = tuple(np.abs(floats(rng, 20, 9, 9)) for _ in range(4))
    groups, boxes = tuple(floats(rng, 6, 3, 7, 7) for _ in range(3)), np.abs(floats(rng, 2, 6, 9, 9))
    return [
        Call(render.render, dict(**star, **sampled, derivatives=True)),
        Call(render.render_transposed, dict(images=np.ones((20, 9, 9), np.float32), **{n: star[n] for n in ("factors", "x", "y")},
                                            side=33, oversampling=sampled["oversampling"])),
        Call(render.render_packed, dict(**star, **sampled, buffer=np.ones(20*3*9*16, np.float32), offset=np.arange(20)*3*9*16,
                                        stride=16), ("buffer",)),
        Call(render.add_rendered, dict(image=image, **star, flux=flux, **sampled, top=2), ("image",)),
        Call(measure.measure, dict(residual=image, model=image+1, ivar=ivar, stamps=stamps, x0=corner[0], y0=corner[1],
                                   flux=flux)),
        Call(measure.cutouts, dict(plane=image, x0=corner[0], y0=corner[1], side=7)),
        Call(measure.chi2, dict(data=image, sky=image/2, model=image/3, ivar=ivar)),
        Call(merge.group_models, dict(stamps=groups[0], x0=pair[0], y0=pair[1], flux=rng.normal(size=(6, 3)), side=9)),
        Call(merge.group_steps, dict(residual=boxes[0], weight=boxes[1], stamps=groups, x0=pair[0], y0=pair[1])),
        Call(merge.group_equations, dict(residual=boxes[0], weight=boxes[1], stamps=groups, x0=pair[0], y0=pair[1])),
        Call(centroid.centroids, dict(psf=stamps[0], light=stamps[1], weight=stamps[2], weighted=True, radius=3))]


def image_calls(rng):
    """Kernels of `detect`, `sky`, `near` and `order`."""
    image, weight, factor = floats(rng, 3, *SHAPE)
    at = dict(y=rng.integers(0, SHAPE[0], 30), x=rng.integers(0, SHAPE[1], 30))
    edges = dict(edges_y=np.array([0, 10, 20, 40]), edges_x=np.array([0, 37]))
    return [
        Call(artifacts.standing_out, dict(light=30*image, error=np.ones(SHAPE, np.float32), least=5., significant=4.,
                                          shape_error=0.02, fall=np.full((4, 2), 0.5), out=np.zeros(SHAPE, np.uint8)), ("out",)),
        Call(artifacts.dips, dict(light=30*image, error=np.ones(SHAPE, np.float32), significant=2., depth=0.2,
                                  out=np.zeros(SHAPE, np.uint8)), ("out",)),
        Call(artifacts.any_beside, dict(light=30*image, error=np.ones(SHAPE, np.float32), low=-50., high=50.)),
        Call(artifacts.axis_widths, dict(light=image, **at, up=1, right=-1, reach=9)),
        Call(artifacts.most_votes, dict(x=rng.uniform(0, 30, 50), y=rng.uniform(0, 30, 50), reach=45., step=3., directions=40)),
        Call(detect.correlate, dict(image=image, kernel=floats(rng, 5, 5), weight=weight, factor=factor, first=2, last=39,
                                    out=np.zeros(SHAPE, np.float32)), ("out",)),
        Call(detect.correlate_at, dict(image=image, weight=weight, kernel=floats(rng, 5, 5), **at)),
        Call(detect.bits_near, dict(mask=rng.integers(0, 64, SHAPE).astype(np.uint16)//9, bits=4, **at, steps=2)),
        Call(detect.local_maxima, dict(image=image, threshold=0.5)),
        Call(sky.block_statistics, dict(image=image, weight=weight, **edges, clip=3.)),
        Call(sky.spline_rows, dict(values=floats(rng, 9, 4), bends=floats(rng, 9, 4), start=np.array([0, 9, 9, 30]),
                                   weights=floats(rng, 4, 30), out=np.zeros((9, 30), np.float32)), ("out",)),
        Call(near.neighbours, dict(x=rng.uniform(0, 90, 200), y=rng.uniform(0, 90, 200), centre_x=rng.uniform(-9, 99, 30),
                                   centre_y=rng.uniform(0, 90, 30), reach=rng.uniform(0, 9, 30))),
        Call(order.order_of, dict(keys=rng.integers(-99, 99, 400), before=rng.permutation(400)))]


def sky_calls(rng):
    """Kernels of `sphere`, `match`, `average` and `positions`."""
    n, link = 300, 1/3600
    ra, dec = rng.uniform(10, 10+9*link, n), rng.uniform(-9*link, 9*link, n)
    points, half = sphere.Points(ra, dec, link), np.full(n, 0.5*sphere.chord2(link))
    at, ones = dict(zip(("ra", "dec"), points.sorted_positions)), np.ones(n)
    wanted = np.ones(n, np.uint8)
    dense, source = match.density(points, half, ones, 1., wanted), rng.integers(0, 7, n).astype(np.intc)
    near_, d2 = match.nearest_centres(points, points.vectors, *at.values(), half)
    members = dict(zip(("start", "member"), average.members_of(rng.integers(-1, 50, n), 50)))
    own = average.members_of(rng.integers(-1, n, n), n)
    usable, sigma, apart = rng.integers(0, 2, (3, n)).astype(np.uint8)[0], rng.uniform(1, 2, n), rng.uniform(0, 2, n)
    visit, offset, band = rng.integers(0, 4, n).astype(np.intc), rng.normal(size=(n, 2)), rng.integers(0, 2, n).astype(np.intc)
    use, flux = average.roles(*members.values(), visit, source, usable, sigma, apart, 1), rng.uniform(1, 2, (n, 3))
    return [
        Call(sphere.unit_vectors, at), Call(sphere.ra_dec, dict(vectors=points.vectors)),
        Call(sphere.offsets, dict(vectors=points.vectors, which=rng.integers(-1, n, n), **at)),
        Call(sphere.moved, dict(**at, offset=offset)), Call(sphere.chord2, dict(angle=1.)),
        Call(match.density, dict(points=points, half=half, weight=ones, part=1., where=wanted)),
        Call(match.cover, dict(points=points, half=half, weight=ones, part=1., dense=np.where(rng.random(n) < 0.5, np.nan, dense),
                               bound=dense+1e-9, owner=np.full(n, -1), family=source-1, rounds=5), ("dense", "owner")),
        Call(match.nearest_centres, dict(centres=points, xyz=points.vectors, **at, half=half)),
        Call(settling.settle, dict(near=near_, d2=d2, rank=np.arange(n), source=source, centres=n, rounds=9)),
        Call(match.absorb, dict(centres=points, members=own, xyz=points.vectors, limit=half, source=source, counted=usable,
                                ratio=1)),
        Call(average.members_of, dict(owner=rng.integers(-1, 50, n), objects=50)),
        Call(average.roles, dict(**members, visit=visit, source=source, usable=usable, sigma=sigma, separation=apart, policy=1)),
        Call(average.mean_fluxes, dict(**members, band=band, source=source, flux=flux, use=use, ok=usable, bands=2, clip=3.)),
        Call(positions.mean_positions, dict(**members, offset=offset, variance=sigma, common=apart/9, counted=usable, clip=3.)),
        Call(positions.motions, dict(**members, offset=offset, variance=sigma, counted=usable, time=apart, least=3, base=0.1))]


def all_calls(seed):
    """Calls of all kernels with random input, by module and name."""
    rng = np.random.default_rng(seed)
    calls = [*design_calls(rng), *stamp_calls(rng), *image_calls(rng), *sky_calls(rng)]
    return {f"{call.kernel.__module__.rpartition('.')[2]}.{call.kernel.__name__}": call for call in calls}
