"""What dirt on an image does to a fit: cosmic rays, hot and bad pixels, odd noise maps, galaxies, trails; prints Markdown.

    python -m benchmarks.studies.dirty [--cases cosmic,hot] [--fwhm 1.6,3,6] [--density sparse,medium,crowded] [--processes 2]
                                       [--seed 0] [--pictures FOLDER]

Each field is made clean, gets one kind of dirt, and is fitted by a process of its own with nothing given but what the case
says. A row is false when there is no true star, and no galaxy, within 1.5 px or half a FWHM of it; how many of them are
bright is told in units of the noise of an isolated star on the bare sky, and of the catalog's own errors. Stars are found
when a row is within 1 px or a third of a FWHM, with a flux right within a factor of 1.5; stars whose pixels the dirt has
destroyed do not count. "of the clean fit" is the completeness for the same stars in the fit of the clean field. Fluxes are
compared in the box to which they refer. What a case adds, bright or saturated stars or galaxies, is counted by itself. What
needs too much CPU time is stopped, and the table says so.
"""
import argparse
import re
import resource
import signal
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from astropy.io import fits
from crowdsource.instruments.generic import Generic
from scipy.signal import oaconvolve
from scipy.spatial import cKDTree

from benchmarks.shared import table
from crowdsource import Image, fit
from crowdsource.core.errors import CrowdsourceError
from crowdsource.psf.profiles.moffat import moffat
from crowdsource.simulate import SimulationConfig, draw_stars, five_sigma_flux, render_stars, star_stamps, true_psf
from crowdsource.simulate.detector import bled
from crowdsource.simulate.stars import stamp_sizes
from crowdsource.validate.columns import plain_columns
from crowdsource.validate.evaluate import FLUX_FACTOR, match_stars, robust_scatter

SIDE, SKY, GAIN, READNOISE, BETA = 400, 200., 4., 6., 3.
NOISE = np.sqrt(SKY/GAIN+(READNOISE/GAIN)**2)
"""Noise of a pixel of the sky, counts."""
DENSITIES = {"sparse": 0.3, "medium": 1., "crowded": 3.}
"""Stars above 5 sigma for each 1000 pixels at a FWHM of 3 pixels; at others as many for each area of the PSF."""
WIDTHS = 1.6, 3., 6.
FULL = 5e4
"""Level at which saturated stars are clipped, counts."""
BOX, EDGE, CPU_LIMIT = 59, 5, 60
"""Fluxes refer to the light in this box; stars nearer to the edge do not count, pixels; CPU seconds that a fit may take."""
HEAD = ("case", "FWHM", "density", "rows", "false", "> 10 sigma", "> 10 dflux", "complete %, S/N > 10", "of the clean fit",
        "added found", "flux ratio %, S/N > 50", "flux pull", "FWHM against clean %", "mean chi2", "CPU s")


@dataclass(eq=False)
class Field:
    """A field under way: clean light first, then dirt.

    Attributes
    ----------
    fwhm, beta : float
        The Moffat profile, integrated over pixels.
    data, variance : ndarray, shape (SIDE, SIDE), float64
        Counts, and their true variance without dirt.
    stars, added : ndarray, shape (n, 3), float64
        x, y and flux of the field's stars, and of stars and galaxies that a case adds.
    rng : numpy.random.Generator
        For the dirt.
    bad : ndarray of bool
        Pixels that are flagged.
    hidden : ndarray of bool
        Pixels where nothing is left of stars.
    read : callable, optional
        ``read(field)`` makes the Image; with the true inverse variance and the flags when not given.
    facts : dict
        Arguments of `Image.from_arrays` beside these.
    """

    fwhm: float
    rng: np.random.Generator
    data: np.ndarray
    variance: np.ndarray
    stars: np.ndarray
    added: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    bad: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE), bool))
    hidden: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE), bool))
    read: object = None
    facts: dict = field(default_factory=dict)

    @property
    def psf(self):
        """Profile and sizes of stamps come from this configuration."""
        return SimulationConfig(shape=(SIDE, SIDE), fwhm=self.fwhm, beta=BETA, fwhm_gradient=(0, 0), ellipticity=(0, 0),
                                gain=GAIN, readnoise=READNOISE, sky=SKY)

    def expose(self, light):
        """Add light with its photon noise."""
        self.data += self.rng.poisson(light*GAIN)/GAIN
        self.variance += light/GAIN

    def light_of(self, stars):
        """Image of stars without noise."""
        c, (x, y, flux) = self.psf, stars.T
        return render_stars(c.shape, true_psf(c), x, y, flux, stamp_sizes(c, true_psf(c), flux))

    def add_stars(self, n, peaks, centred=0):
        """Add stars whose peaks, counts, are within limits, some of them in the middle of a pixel."""
        at = self.spread(n)
        at[:centred] = np.rint(at[:centred])
        flux = np.exp(self.rng.uniform(*np.log(peaks), n))/self.stamp(1)[0, 0]
        self.added = np.vstack([self.added, np.c_[at, flux]])
        self.expose(self.light_of(self.added[-n:]))

    def spread(self, n):
        """Positions of n things that are apart from each other and from the edge, shape (n, 2)."""
        cells = int(np.ceil(np.sqrt(n)))
        chosen = self.rng.permutation(cells**2)[:n]
        step = (SIDE-60)/cells
        return 30+step*(np.c_[chosen % cells, chosen//cells]+self.rng.uniform(0.2, 0.8, (n, 2)))

    def stamp(self, size):
        """A star of unit flux in the middle of a pixel."""
        return star_stamps(np.array([[self.fwhm, 0., 0., BETA]]), np.zeros(1), np.zeros(1), size)[0]

    def image(self):
        """The Image as a user makes it."""
        if self.read:
            return self.read(self)
        ivar = np.where(self.bad, 0, 1/self.variance)
        return Image.from_arrays(self.data, ivar, self.bad.astype(np.uint8), gain=GAIN, **self.facts)


def clean_field(fwhm, density, rng):
    """A Field of stars on a plain sky; without a density of the sky alone."""
    f = Field(fwhm=fwhm, rng=rng, data=rng.normal(0, READNOISE/GAIN, (SIDE, SIDE)),
              variance=np.full((SIDE, SIDE), (READNOISE/GAIN)**2), stars=np.zeros((0, 3)))
    f.expose(np.full((SIDE, SIDE), SKY))
    if density:
        stars = DENSITIES[density]*(SIDE**2/1000)*(3/fwhm)**2
        c = SimulationConfig(**{**vars(f.psf), "stars": stars, "slope": 1.6, "faintest": 0.5, "brightest": 1000.,
                                "saturated_stars": 0})
        f.stars = np.column_stack(draw_stars(c, true_psf(c), rng))
        f.expose(f.light_of(f.stars))
    return f


# Cases: each puts one kind of dirt on a field.

def cosmic(f):
    """150 tracks of 1 to 40 px, 50 to 5000 sigma in each pixel of length, drawn as lines 1 to 2 px wide."""
    for _ in range(150):
        length, angle, width = np.exp(f.rng.uniform(0, np.log(40))), f.rng.uniform(0, 2*np.pi), f.rng.uniform(0, 1)
        charge = np.clip(f.rng.lognormal(np.log(400), 1.), 50, 5000)*NOISE
        along = np.arange(0, length, 1/16)
        across = f.rng.uniform(-width/2, width/2, len(along))
        start = f.rng.uniform(0, SIDE-1, 2)
        x = start[0]+along*np.cos(angle)-across*np.sin(angle)
        y = start[1]+along*np.sin(angle)+across*np.cos(angle)
        splat(f.data, x, y, charge/16*f.rng.gamma(0.5, 2, len(along)))


def splat(data, x, y, charge):
    """Add points of charge to the four pixels around each, in place."""
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    for i, wx in ((x0, 1-(x-x0)), (x0+1, x-x0)):
        for j, wy in ((y0, 1-(y-y0)), (y0+1, y-y0)):
            seen = (i >= 0) & (i < data.shape[1]) & (j >= 0) & (j < data.shape[0])
            np.add.at(data, (j[seen], i[seen]), (charge*wx*wy)[seen])


def hot(f):
    """300 pixels of 10 to 1000 sigma."""
    where = f.rng.choice(SIDE**2, 300, replace=False)
    f.data.flat[where] += NOISE*np.exp(f.rng.uniform(np.log(10), np.log(1000), 300))


def bad(percent):
    """A case of so many per cent of flagged pixels whose values mean nothing."""
    def case(f):
        f.bad = f.rng.random((SIDE, SIDE)) < percent/100
        f.data[f.bad] = f.rng.normal(0, 1e4, f.bad.sum())
    return case


def few(n):
    """A case of an image with n stars of a signal to noise of 50 to 500 and nothing else."""
    def case(f):
        flux = np.exp(f.rng.uniform(np.log(50), np.log(500), n))*five_sigma_flux(f.psf, true_psf(f.psf))/5
        f.added = np.c_[f.spread(n), flux]
        f.expose(f.light_of(f.added))
    return case


def saturated(f, n=12):
    """Stars whose peaks are 3 to 30 times the level of saturation."""
    f.add_stars(n, (3*FULL, 30*FULL))


def satlevel(f):
    """Clipped at levels that differ by 10 % from star to star and by 0.5 % from pixel to pixel; one nominal level is given."""
    saturated(f)
    levels = FULL*f.rng.normal(0.93, 0.1, len(f.added))
    y, x = np.mgrid[:SIDE, :SIDE]
    nearest = cKDTree(f.added[:, :2]).query(np.c_[x.ravel(), y.ravel()])[1].reshape(SIDE, SIDE)
    f.data = np.minimum(f.data, levels[nearest]*f.rng.normal(1, 0.005, (SIDE, SIDE)))
    f.facts["saturation"] = FULL


def holes(f):
    """Cores of saturated stars are 0, with the error of the sky."""
    saturated(f)
    core = f.data > FULL
    f.data[core], f.variance[core] = 0, NOISE**2


def zeros(f):
    """Exact zeros along two sides and in a corner, and no noise map."""
    y, x = np.mgrid[:SIDE, :SIDE]
    f.hidden = (x < 60) | (y < 60) | (x+y > 2*SIDE-90)
    f.data[f.hidden] = 0
    f.read = lambda f: Image.from_arrays(f.data, gain=GAIN, readnoise=READNOISE)


def hugeerr(f):
    """Errors of 1e8 to 1e10 say that there are no data outside of the middle, where they are 0, or noise."""
    y, x = np.mgrid[:SIDE, :SIDE]
    f.hidden = np.maximum(abs(x-SIDE/2), abs(y-SIDE/2)) > 0.3*SIDE
    f.data[f.hidden] = np.where(x < SIDE/2, 0, SKY+f.rng.normal(0, NOISE, (SIDE, SIDE)))[f.hidden]
    f.variance[f.hidden] = 10**f.rng.uniform(16, 20, f.hidden.sum())


def with_marks(f, marks):
    """Pixels that a map of errors marks by each of these values, 200 each, and whose data mean nothing; the map itself."""
    error = np.sqrt(f.variance)
    where = f.rng.choice(SIDE**2, 200*len(marks), replace=False)
    error.flat[where] = np.repeat(marks, 200)
    f.data.flat[where] = f.rng.normal(0, 1e4, len(where))
    return error


def badmap(*marks):
    """A case of a file with a map of errors with such marks, read as `crowdsource generic --rms` reads it."""
    def case(f):
        error = with_marks(f, marks)

        def read(f):
            with tempfile.TemporaryDirectory() as folder:
                names = Path(folder)/"image.fits", Path(folder)/"rms.fits"
                for name, plane in zip(names, (f.data, error)):
                    fits.PrimaryHDU(plane.astype(np.float32), fits.Header(dict(GAIN=GAIN))).writeto(name)
                exposure = Generic().open(str(names[0]), rms=str(names[1]))
                return exposure.read(exposure.tasks()[0])
        f.read = read
    return case


def badivar(f):
    """The same, squared and inverted without a thought: 0 gives an infinite weight, and a negative error a usual one."""
    with np.errstate(divide="ignore"):
        ivar = 1/with_marks(f, (0, -NOISE, np.inf))**2
    f.read = lambda f: Image.from_arrays(f.data, ivar, gain=GAIN)


def galaxies(f):
    """12 exponential discs, half of the light within 3 to 10 FWHM, at a signal to noise of 100 to 1000."""
    half = 80
    at = np.arange(-half, half+1)
    psf = moffat(at[None, :], at[:, None], f.fwhm, 0., 0., BETA)
    psf /= psf.sum()
    fine = np.arange(-half-0.4, half+0.5, 0.2)
    canvas = np.zeros((SIDE+2*half, SIDE+2*half))
    for x, y in f.spread(12):
        scale, ratio, angle = f.rng.uniform(3, 10)*f.fwhm/2/1.678, f.rng.uniform(0.3, 1), f.rng.uniform(0, np.pi)
        i, j = int(round(x)), int(round(y))
        dx, dy = fine[None, :]-(x-i), fine[:, None]-(y-j)
        u, v = dx*np.cos(angle)+dy*np.sin(angle), dy*np.cos(angle)-dx*np.sin(angle)
        disc = np.exp(-np.hypot(u, v/ratio)/scale).reshape(2*half+1, 5, 2*half+1, 5).mean(axis=(1, 3))
        disc = np.maximum(oaconvolve(disc, psf, mode="same"), 0)
        disc /= disc.sum()
        flux = np.exp(f.rng.uniform(np.log(100), np.log(1000)))*NOISE/np.sqrt((disc**2).sum())
        canvas[j:j+2*half+1, i:i+2*half+1] += flux*disc
        f.added = np.vstack([f.added, [x, y, flux]])
    f.expose(canvas[half:-half, half:-half])


def column(f):
    """10 columns with an offset of 20 to 500 sigma, half of them from some row on."""
    for k, x in enumerate(f.rng.choice(SIDE, 10, replace=False)):
        f.data[f.rng.integers(SIDE) if k % 2 else 0:, x] += NOISE*np.exp(f.rng.uniform(np.log(20), np.log(500)))


def trail(f):
    """A satellite's trail as wide as a star, 10 sigma high."""
    y, x = np.mgrid[:SIDE, :SIDE]
    angle = np.deg2rad(f.rng.uniform(20, 70))
    across = (y-SIDE/2)*np.cos(angle)-(x-SIDE/2)*np.sin(angle)+f.rng.uniform(-60, 60)
    f.expose(10*NOISE*np.exp(-4*np.log(2)*(across/f.fwhm)**2))


def bleed(f):
    """Charge of 5 saturated stars runs along columns; nothing is flagged, and no level of saturation is given."""
    saturated(f, 5)
    f.data, _ = bled(f.data, FULL, 0.3)


def stripe(f):
    """A block of rows holds one value."""
    f.hidden[150:214] = True
    f.data[f.hidden] = SKY+20*NOISE


def negative(f):
    """12 ghosts: negative images, a thousandth as bright, of stars that another amplifier reads."""
    ghosts = np.c_[f.spread(12), np.exp(f.rng.uniform(np.log(20), np.log(300), 12))*NOISE/f.stamp(1)[0, 0]]
    f.data -= f.light_of(ghosts)


def evenodd(f):
    """Every second column is higher by 1 sigma."""
    f.data[:, ::2] += NOISE


def real(f):
    """No dirt, but 12 very bright unsaturated stars, half of them in the middle of a pixel: as sharp as stars can be."""
    f.add_stars(12, (8e3*NOISE, 1.2e4*NOISE), centred=6)


CASES = {
    "clean": lambda f: None, "cosmic": cosmic, "hot": hot, **{f"bad{n:02d}": bad(n) for n in (3, 5, 10, 20)},
    **{f"few{n}": few(n) for n in (1, 2, 3, 4)}, "satlevel": satlevel, "holes": holes, "zeros": zeros, "hugeerr": hugeerr,
    "badmap": badmap(0, np.inf), "badmap-": badmap(0, np.inf, -1), "badivar": badivar, "galaxies": galaxies, "column": column,
    "trail": trail, "bleed": bleed, "stripe": stripe, "negative": negative, "evenodd": evenodd, "real": real,
}


def dirty_field(case, fwhm, density, seed=0):
    """The Field of a case; its stars and their noise are those of the clean one."""
    f = clean_field(fwhm, None if case.startswith("few") else density, np.random.default_rng([int(10*fwhm), 5+seed]))
    f.rng = np.random.default_rng([zlib.crc32(case.encode()), seed])
    CASES[case](f)
    return f


def inside(f, stars):
    """Which stars count: those away from the edge whose pixels the dirt has not destroyed."""
    x, y = np.rint(stars[:, :2].T).astype(int)
    within = (np.minimum(x, y) >= EDGE) & (np.maximum(x, y) < SIDE-EDGE)
    within[within] = ~f.hidden[y[within], x[within]]
    return within


def figures(f, result, cpu):
    """What the table needs to know of a fit."""
    rows = plain_columns(result.catalog, ("dflux",))
    where = np.c_[rows["x"], rows["y"]]
    true = np.vstack([f.stars, f.added])
    distance = cKDTree(true[:, :2]).query(where)[0] if len(where) else np.zeros(0)
    false = distance > max(1.5, f.fwhm/2)
    limits = 2*five_sigma_flux(f.psf, true_psf(f.psf)), 10*rows["dflux"]
    strong = [int((false & (rows["flux"] > limit)).sum()) for limit in limits]
    light = f.stamp(BOX).sum()
    # what is negative is no star's
    positive = np.flatnonzero(rows["flux"] > 0)
    rows = {n: v[positive] for n, v in rows.items()}
    match = match_stars(dict(zip(("x", "y", "flux"), (true*[1, 1, light]).T)), rows, max(1., f.fwhm/3))
    hit = match >= 0
    ratio = np.full(len(true), np.nan)
    ratio[hit] = rows["flux"][match[hit]]/(light*true[hit, 2])
    pull = np.full(len(true), np.nan)
    pull[hit] = (ratio[hit]-1)*light*true[hit, 2]/rows["dflux"][match[hit]]
    right = np.abs(np.log(np.where(ratio > 0, ratio, np.nan))) < np.log(FLUX_FACTOR)
    return dict(rows=len(where), false=where[false], strong=strong, matched=hit, found=right, ratio=ratio, pull=pull,
                fwhm=float(result.psf.fwhm()), chi2=float(result.history[-1]["chi2"]), cpu=cpu)


def fitted(case, fwhm, density, seed, folder, out):
    """Fit a case, write a picture where a folder is given, and send figures, or the message of an error, through a pipe."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT+5))
    f = dirty_field(case, fwhm, density, seed)
    start = time.process_time()
    try:
        result = fit(f.image())
    except CrowdsourceError as problem:
        # without the folder of a file that is gone
        out.send(re.sub(r"\S*/", "", str(problem)))
        return
    except Exception as problem:  # a failure of any kind is a finding
        out.send(f"{type(problem).__name__}: {problem}")
        return
    found = figures(f, result, time.process_time()-start)
    out.send(found)
    if folder:
        picture(f, result, found, f"{case} {fwhm:g} {density}", Path(folder)/f"{case}_{fwhm:g}_{density}.png")


def picture(f, result, found, title, path):
    """Image, model and residual, over the noise of the sky, with circles around false rows."""
    from matplotlib.figure import Figure
    model = result.model+result.sky
    figure = Figure(figsize=(18, 6.4), layout="constrained")
    figure.suptitle(f"{title}: {found['rows']} rows, {len(found['false'])} false")
    for axes, plane, reach, name in zip(figure.subplots(1, 3), (f.data-SKY, model-SKY, f.data-model), (30, 30, 10),
                                        ("image", "model", "residual")):
        axes.imshow(plane/NOISE, origin="lower", cmap="gray", vmin=-reach/3 if reach == 30 else -reach, vmax=reach)
        axes.plot(*found["false"].T, "o", mfc="none", mec="red", ms=9)
        axes.set(title=name, xlim=(-0.5, SIDE-0.5), ylim=(-0.5, SIDE-0.5))
    figure.savefig(path, dpi=70)


def outcome(case, fwhm, density, seed, folder):
    """Figures of a case, or what went wrong, by a process of its own."""
    context = get_context("forkserver")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=fitted, args=(case, fwhm, density, seed, folder, send))
    child.start()
    send.close()
    try:
        found = receive.recv()
    except EOFError:
        found = None
    child.join()
    if found is None:
        stopped = child.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
        found = f"stopped after {CPU_LIMIT} CPU s" if stopped else f"died: exit status {child.exitcode}"
    return found


def line(case, fwhm, density, seed, found, clean):
    """A row of the table from the figures of a case and of the clean field."""
    name = [case, f"{fwhm:g}", "" if case.startswith("few") else density]
    if isinstance(found, str):
        return [*name, found, *[""]*(len(HEAD)-4)]
    f = dirty_field(case, fwhm, density, seed)
    true, stars = np.vstack([f.stars, f.added]), len(f.stars)
    snr = 5*true[:, 2]/five_sigma_flux(f.psf, true_psf(f.psf))
    counted = inside(f, true)
    field_star = counted & (np.arange(len(true)) < stars)
    # saturated stars and galaxies are no measure of fluxes
    measured = (counted if case == "real" or case.startswith("few") else field_star) & (snr > 50)
    complete, before = field_star & (snr > 10), "-"
    if isinstance(clean, dict) and complete.any():
        before = f"{100*clean['found'][complete[:stars]].mean():.1f}"
    ratio, pull = found["ratio"][measured], found["pull"][measured]
    ratio = f"{100*np.nanmedian(ratio):.2f}" if np.isfinite(ratio).any() else "-"
    pull = robust_scatter(pull)
    width = f"{100*(found['fwhm']/clean['fwhm']-1):+.1f}" if isinstance(clean, dict) else f"{found['fwhm']:.2f} px"
    near = found["matched"][stars:] if case == "galaxies" else found["found"][stars:]
    return [*name, str(found["rows"]), str(len(found["false"])), *map(str, found["strong"]),
            f"{100*found['found'][complete].mean():.1f}" if complete.any() else "-", before,
            f"{near.sum()} of {len(near)}" if len(near) else "", ratio, f"{pull:.2f}" if np.isfinite(pull) else "-", width,
            f"{found['chi2']:.3g}", f"{found['cpu']:.1f}"]


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default=",".join(CASES), help="names with commas between them; clean is always fitted")
    parser.add_argument("--fwhm", default=",".join(f"{w:g}" for w in WIDTHS), help="pixels")
    parser.add_argument("--density", default=",".join(DENSITIES))
    parser.add_argument("--seed", type=int, default=0, help="of the stars and of the dirt")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--pictures", metavar="FOLDER", help="write a PNG of each case there")
    options = parser.parse_args()
    densities, cases = options.density.split(","), [c for c in options.cases.split(",") if c != "clean"]
    if unknown := {*cases}-{*CASES} | {*densities}-{*DENSITIES}:
        parser.error(f"not known: {', '.join(sorted(unknown))}")
    if options.pictures:
        Path(options.pictures).mkdir(parents=True, exist_ok=True)
    # those of few stars have no density
    runs = [(case, float(fwhm), density) for fwhm in options.fwhm.split(",") for density in densities
            for case in ["clean", *cases] if not case.startswith("few") or density == densities[0]]
    get_context("forkserver").set_forkserver_preload(["crowdsource.engine.loop", "crowdsource.simulate", "scipy.signal"])
    lines, clean = [], {}
    with ThreadPoolExecutor(options.processes) as pool:
        for run, found in zip(runs, pool.map(lambda run: outcome(*run, options.seed, options.pictures), runs)):
            case, *place = run
            if case == "clean":
                clean[tuple(place)] = found
            lines.append(line(*run, options.seed, found, clean[tuple(place)]))
            sys.stderr.write(" | ".join(lines[-1])+"\n")
    sys.stdout.write(table(HEAD, lines)+"\n")


if __name__ == "__main__":
    main()
