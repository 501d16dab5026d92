"""The page of a release: coverage, density, repeatability, astrometric residuals, numbers of detections, colours."""
from dataclasses import dataclass, field

import numpy as np

from ...report.measured import robust_scatter
from ...report.page import Cell, Page, Panel, Section, cell, number, write_page
from ...report.plots import (
    BLUE,
    CYCLE,
    GREEN,
    MAP,
    SOFT,
    add_bar,
    bokeh,
    histogram,
    limits_of,
    line,
    mark,
    new_plot,
    plane_plot,
    points,
    running,
    with_legend,
)
from ...report.star_plots import colour_magnitude, edges_of
from ..exports.coverage import DEEP, Coverage, coverage_of, small_field
from ..exports.export_tables import DetectionTable, ObjectTable
from ..exports.table_files import decoded
from ..healpix import corners_of
from ..objects.average import ZEROPOINT

MOST_OBJECTS, MOST_DETECTIONS = 200_000, 500_000
"""That statistics are made of; of larger releases a part of each pixel is taken, by chance."""
MOST_CELLS = 12_000
"""Of maps; they are made of larger cells where there are more."""
SEVERAL = 3
"""Detections of an object from which on its scatter counts."""
POGSON = 2.5/np.log(10)
RESIDUALS = "east", "north", "magnitude", "bright", "source"
WIDEST = 0.3
"""Arcsec; residuals of positions are shown up to here at most."""


@dataclass(eq=False)
class ReleaseFigures:
    """What the page of a release is made of.

    Attributes
    ----------
    coverage : crowdsource.survey.exports.coverage.Coverage
    objects : dict of str to ndarray
        Columns of a sample of the objects.
    residuals : dict of str to ndarray
        Of a sample of the detections: east, north (arcsec), magnitude residual, image (code) and band (code).
    images : ndarray of str
        Exposure and detector by code.
    numbers : ndarray
        How many objects have 0, 1, 2 ... detections.
    """

    coverage: Coverage
    objects: dict
    residuals: dict
    images: np.ndarray
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(1, int))


def figures_of_release(survey):
    """The `ReleaseFigures` of a release, read pixel by pixel.

    Parameters
    ----------
    survey : crowdsource.survey.exports.release_reader.ReleaseReader
    """
    objects, detections = ObjectTable(survey), DetectionTable(survey)
    coverage = coarser(coverage_of(objects, detections))
    bands = [b.lower() for b, _ in survey.release.bands]
    counts, rng = objects.counts(), np.random.default_rng(0)
    share = min(1., MOST_OBJECTS/max(sum(counts.values()), 1))
    share_seen = min(1., MOST_DETECTIONS/max(sum(detections.counts().values()), 1))
    columns = ["object_id", "ra", "dec", "n_det", "ra_scatter", "dec_scatter", "n_position", "position_chi2"]
    columns += [f"{n}_{b}" for b in bands for n in ("mag", "flux", "flux_error", "flux_scatter", "flux_chi2", "n_used")]
    sample, seen, numbers = [], [], np.zeros(1, int)
    for pixel in counts:
        rows = survey.release.objects(pixel)
        counted = np.bincount(rows["n_det"])
        numbers = _sum(numbers, counted)
        chosen = rng.random(len(rows)) < share
        sample.append({c: rows[c][chosen] for c in columns})
        block = detections.rows.rows(pixel)
        seen.append(_residuals(block.subset(rng.random(len(block)) < share_seen), rows, bands))
    images = survey.snapshot.images
    names = np.array([f"{e} {d}".strip() for e, d in zip(images.exposure.tolist(), images.detector.tolist())])
    return ReleaseFigures(coverage, _joined(sample, columns), _joined(seen, RESIDUALS), names, numbers)


def _joined(parts, columns):
    return {c: np.concatenate([np.asarray(p[c]) for p in parts]) if parts else np.zeros(0) for c in columns}


def _sum(a, b):
    out = np.zeros(max(len(a), len(b)), int)
    out[:len(a)] += a
    out[:len(b)] += b
    return out


def _residuals(block, objects, bands):
    """Detections less their objects, of those whose object lies in the same pixel."""
    columns = block.columns() if len(block) else {}
    if not columns or not len(objects):
        return {n: np.zeros(0, int if n == "source" else float) for n in RESIDUALS}
    ids, order = columns["object_id"], np.argsort(objects["object_id"])
    at = order[np.minimum(np.searchsorted(objects["object_id"], ids, sorter=order), len(order)-1)]
    known = (objects["object_id"][at] == ids) & (objects["n_det"][at] >= 2)
    at, own = at[known], objects[at[known]]
    band, used = decoded(columns["band"])[known], decoded(columns["use"])[known] == "averaged"
    mean = np.full(len(at), np.nan)
    for b in bands:
        of = np.char.lower(band.astype(str)) == b
        mean[of] = own[f"flux_{b}"][of]
    flux = columns["calibrated_flux"][known]
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(used & (flux > 0) & (mean > 0), -2.5*np.log10(flux/mean), np.nan)
        bright = ZEROPOINT-2.5*np.log10(np.where(mean > 0, mean, np.nan))
    ra, dec = (decoded(columns[n])[known] for n in ("ra", "dec"))
    return {"east": ((ra-own["ra"]+180) % 360-180)*np.cos(np.radians(own["dec"]))*3600, "north": (dec-own["dec"])*3600,
            "magnitude": residual, "bright": bright, "source": decoded(columns["source"])[known]}


def coarser(coverage):
    """A coverage with no more than `MOST_CELLS` cells; depths are means."""
    while len(coverage.cells) > MOST_CELLS:
        cells, first = np.unique(coverage.cells >> 2, return_index=True)
        added = {n: np.add.reduceat(getattr(coverage, n), first) for n in ("objects", "detections")}
        depth = {}
        for band, values in coverage.depth.items():
            known = np.isfinite(values)
            sums, counts = (np.add.reduceat(v, first) for v in (np.where(known, values, 0), known.astype(int)))
            depth[band] = np.where(counts > 0, sums/np.maximum(counts, 1), np.nan)
        coverage = Coverage(coverage.order-1, cells, added["objects"], added["detections"], depth)
    return coverage


def write_release_page(survey, path, overwrite=False):
    """Write the page of a release.

    Parameters
    ----------
    survey : crowdsource.survey.exports.release_reader.ReleaseReader
    path : path-like
    overwrite : bool

    Raises
    ------
    MissingExtraError
        When bokeh is not installed.
    OutputError
        When the file exists already or cannot be written.
    """
    write_page(release_page(figures_of_release(survey), survey), path, overwrite)


def release_page(figures, survey):
    """The `crowdsource.report.page.Page` of a release."""
    release = survey.release
    bands = [(b, b.lower()) for b, _ in release.bands]
    sections = [
        Section(name="coverage", title="Coverage and depth", panels=tuple(_maps(figures.coverage)),
                text="Cells of HEALPix; depth is the magnitude of an object at 5 sigma."),
        Section(name="repeatability", title="Repeatability", panels=tuple(_repeatability(figures.objects, bands)),
                text=f"Of objects with {SEVERAL} measurements or more in a band."),
        Section(name="astrometry", title="Positions", panels=tuple(_positions(figures))),
        Section(name="objects", title="Objects", panels=tuple(_objects(figures, bands))),
        Section(name="images", title="Exposures", panels=(_images(figures),),
                text="Medians of what detections differ from their objects. Offsets of magnitude are of zero points, those "
                     "of positions of world coordinates.")]
    return Page(title=f"Release {release.name}", subtitle=f"{survey.store.path}, commit {release.snapshot}",
                figures=tuple(_summary(figures, survey)), sections=tuple(sections))


def _summary(figures, survey):
    coverage, release = figures.coverage, survey.release
    area = len(coverage.cells)*360**2/np.pi/(12 << 2*coverage.order)
    total, seen = figures.numbers.sum(), coverage.detections.sum()
    out = [(f"{total:,}", "objects", ""), (f"{seen:,}", "detections", ""),
           (number(area, ".4g", "deg²"), "covered", "cells with objects"),
           (f"{total/max(area*3600, 1e-9):.3g}", "objects in an arcmin²", "")]
    for band, system in release.bands:
        depth = coverage.depth[band.lower()]
        if np.isfinite(depth).any():
            out.append((f"{np.nanmedian(depth):.2f}", f"depth in {band}, 5 sigma", f"mag {system}"))
    return out


def _maps(coverage):
    models = bokeh("models")
    ra, dec = corners_of(coverage.cells, coverage.order)
    small = small_field(ra, dec)
    x, y = (ra, dec) if small is None else small[:2]
    x_label = "right ascension (degrees)" if small is None else f"degrees east of ra {small[2]:.4f}"
    area = 360**2/np.pi/(12 << 2*coverage.order)*3600
    shown = {"objects in an arcmin²": coverage.objects/area,
             "detections of an object": coverage.detections/np.maximum(coverage.objects, 1),
             **{f"depth in {b} (mag), {DEEP:.0f} sigma": v for b, v in coverage.depth.items()}}
    titles = "Density of objects", "Detections of an object", *(f"Depth in {b}" for b in coverage.depth)
    data = dict(x=x.tolist(), y=y.tolist(), objects=coverage.objects, detections=coverage.detections)
    for title, (name, values) in zip(titles, shown.items()):
        if not np.isfinite(values).any():
            continue
        low, high = limits_of(np.asarray(values, float))
        mapper = models.LinearColorMapper(palette=MAP, low=low, high=high, nan_color="#c9d3da")
        plot = new_plot(x_label, "declination (degrees)", match_aspect=small is not None,
                        tools="pan,wheel_zoom,box_zoom,reset,save")
        plot.x_range.flipped = True
        source = models.ColumnDataSource({**data, "value": np.asarray(values, float)})
        plot.patches("x", "y", source=source, fill_color={"field": "value", "transform": mapper}, line_color=None)
        tips = [("objects", "@objects"), ("detections", "@detections"), (name, "@value{0.000}")]
        plot.add_tools(models.HoverTool(tooltips=tips))
        add_bar(plot, mapper, name)
        yield Panel(title=title, figure=plot)


def _repeatability(objects, bands):
    for band, low in bands:
        several = objects[f"n_used_{low}"] >= SEVERAL
        flux, scatter = (objects[f"{n}_{low}"][several].astype(float) for n in ("flux", "flux_scatter"))
        magnitude = objects[f"mag_{low}"][several].astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(flux > 0, POGSON*scatter/flux, np.nan)
            reduced = objects[f"flux_chi2_{low}"][several]/np.maximum(objects[f"n_used_{low}"][several]-1, 1)
        if not np.isfinite(relative).any():
            continue
        edges = edges_of(magnitude)
        identifiers = objects["object_id"][several].astype(str)
        plot = new_plot(f"{band} (mag)", "scatter of a measurement (mag)", y_axis_type="log", y_range=(1e-3, 2))
        median = _with_median(plot, dict(x=magnitude, y=relative, object_id=identifiers), edges, BLUE)
        least = np.nanmin(median) if np.isfinite(median).any() else np.nan
        yield Panel(title=f"Scatter in {band}", figure=with_legend(plot, "top_left"),
                    caption=f"{len(flux)} objects; the brightest repeat to {number(least, '.4f')} mag.")
        chi = new_plot(f"{band} (mag)", "chi2 of a degree of freedom", y_axis_type="log", y_range=(0.05, 50))
        _with_median(chi, dict(x=magnitude, y=reduced.astype(float), object_id=identifiers), edges, GREEN)
        mark(chi, 1., "", upright=False, colour=SOFT)
        yield Panel(title=f"chi2 in {band}", figure=with_legend(chi, "top_left"),
                    caption="1 where errors are right and stars are constant; variable stars lie far above. The pointer shows "
                            "the object's identifier, of which crowdsource report STORE --object ID makes a page.")


def _with_median(plot, columns, edges, colour):
    """Draw points of objects, which the pointer names, and their median in bins, which is returned."""
    points(plot, _source(columns), "x", "y", size=3, colour=colour)
    plot.add_tools(bokeh("models").HoverTool(tooltips=[("object", "@object_id"), ("", "@y{0.0000}")]))
    middle, (_, median, _) = running(columns["x"], columns["y"], edges)
    line(plot, middle, median, name="median")
    return median


def _source(columns, most=20_000):
    """Data of points, of no more than so many rows."""
    number_of = len(next(iter(columns.values())))
    chosen = np.arange(number_of)
    if number_of > most:
        chosen = np.sort(np.random.default_rng(0).choice(number_of, most, replace=False))
    data = {n: v[chosen].astype(np.float32) if v.dtype.kind == "f" else v[chosen].tolist() for n, v in columns.items()}
    return bokeh("models").ColumnDataSource(data)


def _positions(figures):
    east, north = figures.residuals["east"], figures.residuals["north"]
    if not len(east):
        return
    most = min(WIDEST, max(0.01, float(4*np.median(np.hypot(east, north)))))
    counts, _, _ = np.histogram2d(north, east, bins=60, range=[[-most, most]]*2)
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    plot = plane_plot(shown, (-most, most, -most, most), "log10 of detections", x_label="east of the object (arcsec)",
                      y_label="north of the object (arcsec)")
    yield Panel(title="Detections about their objects", figure=plot,
                caption=f"Median {1e3*np.median(east):.1f} mas east, {1e3*np.median(north):.1f} mas north; "
                        f"robust scatter {1e3*robust_scatter(east):.1f} and {1e3*robust_scatter(north):.1f} mas.")
    bright, spread = figures.residuals["bright"], np.hypot(east, north)/np.sqrt(2)
    edges = edges_of(bright)
    curve = new_plot("magnitude of the object (mag)", "scatter of a position, one axis (mas)", y_axis_type="log")
    middle, (low, median, high) = running(bright, 1e3*spread, edges)
    known = np.isfinite(median)
    curve.varea(x=middle[known], y1=np.maximum(low[known], 1e-2), y2=high[known], fill_color=BLUE, fill_alpha=0.2,
                legend_label="68 % of detections")
    line(curve, middle[known], median[known], colour=BLUE, name="median")
    yield Panel(title="Scatter of positions", figure=with_legend(curve, "top_left"))


def _objects(figures, bands):
    numbers = figures.numbers
    plot = new_plot("detections", "objects", y_axis_type="log")
    plot.vbar(x=np.arange(len(numbers)), top=np.maximum(numbers, 0.7), bottom=0.7, width=0.8, color=BLUE, fill_alpha=0.5)
    once = numbers[1] if len(numbers) > 1 else 0
    yield Panel(title="Objects by number of detections", figure=plot, caption=f"{once:,} objects were seen once.")
    luminosity = new_plot("magnitude (mag)", "objects in 0.25 mag", y_axis_type="log")
    for (band, low), colour in zip(bands, CYCLE):
        magnitude = figures.objects[f"mag_{low}"].astype(float)
        if np.isfinite(magnitude).any():
            histogram(luminosity, magnitude, edges_of(magnitude), colour=colour, name=band, least=0.7, alpha=0.2)
    yield Panel(title="Luminosity functions", figure=with_legend(luminosity, "top_left"))
    if len(bands) > 1:
        (blue, first), (red, second) = bands[:2]
        magnitude, other = (figures.objects[f"mag_{b}"].astype(float) for b in (first, second))
        both = np.isfinite(magnitude) & np.isfinite(other)
        if both.any():
            colour, magnitude = (magnitude-other)[both], magnitude[both]
            source = _source(dict(colour=colour, magnitude=magnitude, good=np.ones(len(colour))))
            yield colour_magnitude(source, "magnitude", f"{blue} - {red} (mag)", f"{blue} (mag)", colour, magnitude)


def _images(figures):
    residuals, rows = figures.residuals, []
    order = np.argsort(residuals["source"], kind="stable")
    present, start = np.unique(residuals["source"][order], return_index=True)
    for source, at in zip(present.astype(int).tolist(), np.split(order, start[1:]) if len(order) else []):
        magnitude = residuals["magnitude"][at]
        magnitude = magnitude[np.isfinite(magnitude)]
        east, north = residuals["east"][at], residuals["north"][at]
        rows.append((Cell(text=str(figures.images[source])), cell(len(at), "d"),
                     cell(1e3*np.median(magnitude) if len(magnitude) else None, ".1f"),
                     cell(1e3*robust_scatter(magnitude) if len(magnitude) else None, ".1f"), cell(1e3*np.median(east), ".1f"),
                     cell(1e3*np.median(north), ".1f"), cell(1e3*robust_scatter(np.concatenate([east, north])), ".1f")))
    head = "exposure", "detections", "offset (mmag)", "scatter (mmag)", "east (mas)", "north (mas)", "scatter (mas)"
    return Panel(title="", head=head, rows=tuple(rows), wide=True)
