"""Sources whose neighbours, free to move, take their place."""
from dataclasses import replace

import numpy as np

from crowdsource.config import CullConfig, FitConfig, PSFConfig
from crowdsource.core.image import Image
from crowdsource.engine.joint_fit import fitted
from crowdsource.engine.loop import initialize
from crowdsource.engine.merge import merged
from crowdsource.engine.prune import pruned
from crowdsource.engine.sources import Sources
from crowdsource.engine.stages import with_model
from crowdsource.engine.state import PRUNE, SEARCH
from crowdsource.psf.model import FieldPSF

SHAPE, SIGMA, SIDE = (200, 200), 9., 5
PSF = FieldPSF.moffat(SHAPE, 4., 3.)
COUNT = SIDE**2


def groups(flux, offset, seed=3, edge=20):
    """Groups of stars along random directions: positions and fluxes, shape (stars of a group, groups), and the image."""
    rng = np.random.default_rng(seed)
    x, y = (v.ravel()+rng.uniform(-1, 1, COUNT) for v in np.meshgrid(*2*[np.linspace(edge, 199-edge, SIDE)]))
    angle = rng.uniform(0, 2*np.pi, COUNT)
    x, y = (v+np.multiply.outer(offset, along(angle)) for v, along in ((x, np.cos), (y, np.sin)))
    data = rng.normal(0, SIGMA, SHAPE).astype(np.float32)
    flux = np.repeat(np.array(flux, dtype=float), COUNT)
    PSF.add_to(data, x.ravel(), y.ravel(), flux, 59)
    return x, y, flux.reshape(-1, COUNT), Image.from_arrays(data, np.full(SHAPE, 1/SIGMA**2))


def started(image, x, y, flux, **cull):
    """A state whose sources start somewhere and have been fitted once, with covariances."""
    config = FitConfig(psf=PSFConfig(refit=False), cull=CullConfig(**cull))
    state = initialize(image, PSF, config, None, None, None)
    state = with_model(replace(state, sources=Sources.new(x.ravel(), y.ravel(), flux.ravel())))
    return with_model(fitted(state, 3, with_errors=True)[0])


def between(x, y, flux):
    """Two stars of a group put too far apart, and a source in the middle that makes up for it."""
    out = [v[0]+1.2*(v[0]-v[1])/np.hypot(x[0]-x[1], y[0]-y[1]) for v in (x, y)]
    back = [v[1]-1.2*(v[0]-v[1])/np.hypot(x[0]-x[1], y[0]-y[1]) for v in (x, y)]
    middle = [(v[0]+v[1])/2 for v in (x, y)]
    return (*(np.stack(v) for v in zip(out, back, middle)), np.stack([0.7*flux[0], 0.7*flux[1], 0.3*flux.sum(axis=0)]))


def significance(state):
    return np.full(len(state.sources), 6.)


def test_a_source_between_two_stars_that_stand_too_far_apart_goes_and_they_move_to_their_places():
    x, y, flux, image = groups((4000., 2700.), (-1.65, 1.65))
    state = started(image, *between(x, y, flux))
    two = merged(state, significance(state), 6.)
    s = two.sources
    assert len(state.sources) == 3*COUNT and len(two.covariance) == len(s)
    # three parameters more than needed gain more than 3 sigma by chance in one group out of forty
    assert 2*COUNT <= len(s) <= 2*COUNT+3
    distance = np.hypot(s.x[:, None]-x.ravel(), s.y[:, None]-y.ravel())
    assert np.sort(distance.min(axis=0))[:-6].max() < 0.25
    nearest = distance.argmin(axis=0)
    assert np.median(np.abs(s.flux[nearest]/flux.ravel()-1)) < 0.05


def test_three_stars_stay_three():
    x, y, flux, image = groups((4000., 2700., 3000.), (-3.4, 0., 3.4))
    state = started(image, x, y, flux)
    assert len(merged(state, significance(state), 6.).sources) == 3*COUNT


def test_what_is_significant_listed_masked_or_alone_is_not_tried():
    x, y, flux, image = groups((4000., 2700.), (-1.65, 1.65))
    state = started(image, *between(x, y, flux))
    assert len(merged(state, np.full(3*COUNT, 20.), 6.).sources) == 3*COUNT
    listed = replace(state, sources=state.sources.with_values(bright=np.ones(3*COUNT, bool)))
    assert len(merged(listed, significance(state), 6.).sources) == 3*COUNT
    row, column = np.indices(SHAPE)
    hidden = (np.hypot(x[:, :, None, None]-column, y[:, :, None, None]-row) < 2).any(axis=(0, 1))
    masked = replace(state, image=image.masked(hidden, 0))
    assert len(merged(masked, significance(state), 6.).sources) == 3*COUNT
    alone = started(image, (x[:1]+x[1:])/2, (y[:1]+y[1:])/2, flux.sum(axis=0))
    assert len(merged(alone, significance(alone), 6.).sources) == COUNT


def test_near_the_images_edge_pixels_off_it_do_not_count():
    x, y, flux, image = groups((4000., 2700.), (-1.65, 1.65), edge=2)
    state = started(image, *between(x, y, flux))
    s = merged(state, significance(state), 6.).sources
    assert 2*COUNT <= len(s) <= 2*COUNT+4 and np.isfinite(s.x+s.y+s.flux).all()


def test_a_pruning_pass_does_so_where_it_is_asked_to():
    x, y, flux, image = groups((4000., 2700.), (-1.65, 1.65))
    left = {}
    for least in (0., 3.):
        state = started(image, *between(x, y, flux), merge=least)
        # sources of the pass itself are spared
        left[least] = len(pruned(replace(state, kind=PRUNE, passno=3)).sources)
    assert left[0.] > 2.5*COUNT and left[3.] <= 2*COUNT+4


def halves(x, y, flux, distance=1.1):
    """Two sources on each star, at either side of it, that share its flux unequally."""
    return np.stack([x[0]-distance, x[0]+distance]), np.stack([y[0], y[0]]), np.stack([0.7*flux[0], 0.3*flux[0]])


def test_of_two_sources_on_one_star_the_one_that_stays_moves_to_its_place():
    x, y, flux, image = groups((1200.,), (0.,))
    distance = {}
    for least in (0., 3.):
        state = replace(started(image, *halves(x, y, flux), merge=least), kind=PRUNE, passno=3)
        s = pruned(state).sources
        assert len(s) <= COUNT+1
        distance[least] = np.median(np.hypot(s.x[:, None]-x[0], s.y[:, None]-y[0]).min(axis=0))
    # a lone star of this flux is known to 0.14 pixels along each axis
    assert distance[3.] < 0.25 < 1.5*distance[3.] < distance[0.]


def test_insignificant_sources_stay_where_no_neighbour_could_replace_them():
    x, y, flux, image = groups((4000., 2700.), (-1.1, 1.1))
    state = started(image, x, y, flux)
    insignificant = np.full(2*COUNT, 3.), 6., np.ones(2*COUNT, bool)
    assert len(merged(state, *insignificant).sources) == 2*COUNT
    # neighbours out of reach take no place: the linear significance counts
    alone = started(image, x[:1], y[:1], flux[:1])
    assert len(merged(alone, np.full(COUNT, 3.), 6., np.ones(COUNT, bool)).sources) == 0


def test_a_source_stays_while_what_was_found_beside_it_settles():
    x, y, flux, image = groups((1200.,), (0.,))
    state = replace(started(image, *halves(x, y, flux), prune=20.), kind=SEARCH)
    old = np.arange(2*COUNT) < COUNT
    left = {}
    for passno in (3, 4):
        sources = state.sources.with_values(passno=np.where(old, 0, 3))
        left[passno] = len(pruned(replace(state, sources=sources, passno=passno)).sources)
    assert left[3] > 1.8*COUNT and left[4] < 1.2*COUNT


def test_no_sources_are_no_problem():
    image = groups((0.,), (0.,))[3]
    state = started(image, *np.zeros((3, 0)))
    assert len(merged(state, np.zeros(0), 6.).sources) == 0
