"""The page of an object: all its detections, light curves, positions and cut-outs."""
from pathlib import Path

import numpy as np

from ...api.pages import FoundFit
from ...core.errors import ConfigError, CrowdsourceError
from ...report.cutouts import cutouts_at
from ...report.measured import planes_of
from ...report.page import Page, Panel, Section, cell, write_page
from ...report.plots import BLUE, CYCLE, GREY, RED, bokeh, line, new_plot, with_legend
from ..exports.table_files import select
from ..objects.average import ZEROPOINT
from ..regions import cone_region

AROUND = 5.
"""Arcsec, of a detection's neighbours that are shown."""
MOST_CUTOUTS = 24
POGSON = 2.5/np.log(10)
SHOWN = ("detection_id", "exposure", "detector", "band", "mjd", "calibrated_flux", "calibrated_flux_error", "use", "ok",
         "separation", "qf", "rchi2", "fracflux", "fwhm")
"""Columns of the table of detections, where there are these."""


def object_row(survey, identifier):
    """The row of an object of a release.

    Parameters
    ----------
    survey : crowdsource.survey.exports.release_reader.ReleaseReader
    identifier : int

    Returns
    -------
    ndarray, shape ()
        Structured.

    Raises
    ------
    ConfigError
        When there is none.
    """
    release = survey.release
    # identifiers are places where objects were first seen
    for pixel in sorted(release.pixels, key=lambda p: not p.start <= identifier < p.stop):
        rows = release.objects(pixel)
        found = np.flatnonzero(rows["object_id"] == identifier)
        if len(found):
            return rows[found[0]]
    raise ConfigError(f"release {release.name} has no object {identifier}; crowdsource healpix cone shows those of a place")


def write_object_page(survey, identifier, path, overwrite=False):
    """Write the page of an object.

    Parameters
    ----------
    survey : crowdsource.survey.exports.release_reader.ReleaseReader
    identifier : int
    path : path-like
    overwrite : bool

    Raises
    ------
    ConfigError
        When there is no such object.
    MissingExtraError
        When bokeh is not installed.
    OutputError
        When the file exists already or cannot be written.
    """
    write_page(object_page(survey, identifier), path, overwrite)


def object_page(survey, identifier):
    """The `crowdsource.report.page.Page` of an object."""
    row = object_row(survey, identifier)
    around = select(survey, cone_region(float(row["ra"]), float(row["dec"]), AROUND), detections=True)
    own = np.asarray(around["object_id"]) == identifier
    detections = around[own]
    detections.sort(["band", "mjd"])
    cutouts, missing = _cutouts(survey, detections)
    sections = [Section(name="curve", title="Light curve", panels=tuple(_curves(row, detections, survey.release.bands))),
                Section(name="place", title="Positions", panels=(_places(row, around, own),))]
    if cutouts:
        sections.append(Section(name="cutouts", title="Cut-outs", panels=(
            Panel(title="", cutouts=cutouts, wide=True, caption="The object is in the middle; north is as in each image."),)))
    sections += [Section(name="detections", title="Detections", panels=(_table(detections),)),
                 Section(name="object", title="All columns", panels=(_columns(row, survey.release.columns),), folded=True)]
    place = f"ra {row['ra']:.6f}, dec {row['dec']:.6f}"
    return Page(title=f"Object {identifier}", subtitle=f"{place}, release {survey.release.name}", missing=missing,
                figures=tuple(_summary(row, survey.release.bands)), sections=tuple(sections))


def _summary(row, bands):
    days = float(row["last_mjd"]-row["first_mjd"])
    out = [(str(row["n_det"]), "detections", f"{row['n_used']} averaged")]
    if np.isfinite(days):
        out.append((f"{days/365.25:.2f} years" if days > 100 else f"{days:.2f} days", "from first to last",
                    f"MJD {row['first_mjd']:.3f} to {row['last_mjd']:.3f}"))
    for band, system in bands:
        low = band.lower()
        if row[f"n_used_{low}"]:
            degrees = max(int(row[f"n_used_{low}"])-1, 1)
            out.append((f"{row[f'mag_{low}']:.4f}", f"{band} (mag {system})".replace(" )", ")"),
                        f"± {row[f'mag_error_{low}']:.4f}; chi2 {row[f'flux_chi2_{low}']/degrees:.2f} a degree of freedom"))
    if "pmra" in row.dtype.names and np.isfinite(row["pmra"]):
        out.append((f"{row['pmra']:.1f}, {row['pmdec']:.1f}", "proper motion, mas/yr", f"± {row['pm_error']:.1f}"))
    return out


def _curves(row, detections, bands):
    times = np.asarray(detections["mjd"], float)
    dated = np.isfinite(times).all()
    first = np.floor(times.min()) if dated else 0.
    x = times-first if dated else np.arange(len(times), dtype=float)
    flux, error = (np.asarray(detections[n], float) for n in ("calibrated_flux", "calibrated_flux_error"))
    used = np.asarray(detections["use"]) == "averaged"
    for (band, system), colour in zip(bands, CYCLE*len(bands)):
        of = (np.asarray(detections["band"]) == band) & (flux > 0)
        if not of.any():
            continue
        magnitude, error_mag = ZEROPOINT-2.5*np.log10(flux[of]), POGSON*error[of]/flux[of]
        plot = new_plot(f"MJD - {first:.0f} (days)" if dated else "detection", f"{band} (mag {system})".replace(" )", ")"))
        plot.y_range.flipped = True
        plot.segment(x[of], magnitude-error_mag, x[of], magnitude+error_mag, color=colour, alpha=0.6)
        for kind, name, fill in ((used[of], "averaged", colour), (~used[of], "not averaged", "#ffffff")):
            if kind.any():
                names = np.asarray(detections["exposure"])[of][kind].tolist()
                data = dict(x=x[of][kind], y=magnitude[kind], e=error_mag[kind], name=names)
                plot.scatter("x", "y", source=bokeh("models").ColumnDataSource(data), size=7, fill_color=fill, line_color=colour,
                             legend_label=name)
        mean = float(row[f"mag_{band.lower()}"])
        if np.isfinite(mean):
            line(plot, [x[of].min(), x[of].max()], [mean, mean], colour=GREY, dash="dashed", name="mean")
        plot.add_tools(bokeh("models").HoverTool(tooltips=[("", "@name"), ("mag", "@y{0.0000} ± @e{0.0000}")]))
        yield Panel(title=f"Band {band}", figure=with_legend(plot, "bottom_right"), wide=len(bands) == 1)


def _places(row, around, own):
    east = ((np.asarray(around["ra"])-row["ra"]+180) % 360-180)*np.cos(np.radians(row["dec"]))*3600
    north = (np.asarray(around["dec"])-row["dec"])*3600
    names = np.asarray(around["exposure"])
    plot = new_plot("east (arcsec)", "north (arcsec)", match_aspect=True)
    plot.x_range.flipped = True
    for chosen, colour, name in ((~own, GREY, "of other objects"), (own, RED, "of this object")):
        if chosen.any():
            data = dict(x=east[chosen], y=north[chosen], name=names[chosen].tolist())
            source = bokeh("models").ColumnDataSource(data)
            plot.scatter("x", "y", source=source, size=6, color=colour, alpha=0.6, legend_label=name)
    plot.scatter([0], [0], marker="cross", size=16, color=BLUE, legend_label="the object")
    plot.add_tools(bokeh("models").HoverTool(tooltips=[("", "@name"), ("east, north", "@x{0.000}, @y{0.000}")]))
    scatter = f"Scatter {1e3*row['ra_scatter']:.1f} mas in right ascension, {1e3*row['dec_scatter']:.1f} mas in declination."
    scatter = scatter if np.isfinite(row["ra_scatter"]) else ""
    return Panel(title="Detections around", figure=with_legend(plot, "top_left"), caption=scatter)


def _table(detections):
    names = [n for n in SHOWN if n in detections.colnames]
    units = [f"{n} ({detections[n].unit})" if detections[n].unit else n for n in names]
    rows = tuple(tuple(_spelled(n, detections[n][k]) for n in names) for k in range(len(detections)))
    return Panel(title="", head=tuple(units), rows=rows, wide=True)


def _spelled(name, value):
    if isinstance(value, str | np.str_ | bool | np.bool_):
        return str(value)
    form = {"mjd": ".5f", "separation": ".4f"}.get(name, "d" if np.asarray(value).dtype.kind in "iu" else ".5g")
    return str(value) if name == "detection_id" else cell(value, form)


def _columns(row, columns):
    rows = tuple((c.name, str(row[c.name]), c.unit, c.description) for c in columns)
    return Panel(title="", head=("column", "value", "unit", "definition"), rows=rows, wide=True)


def _cutouts(survey, detections):
    """Cut-outs of the object from the images that its catalogs are of, and sentences about those that are not found."""
    if "x" not in detections.colnames or not len(detections):
        return (), ("The catalogs have no pixels of the detections: there are no cut-outs.",)
    files, images, out, missing = survey.snapshot.images.file, {}, [], []
    for k in np.argsort(np.asarray(detections["mjd"]), kind="stable")[:MOST_CUTOUTS].tolist():
        d = detections[k]
        path, detector = Path(str(files[int(d["source"])])), str(d["detector"])
        path = next((p for p in (path, Path(survey.store.path)/path, Path(survey.store.path).parent/path) if p.is_file()), path)
        if (path, detector) not in images:
            images[path, detector], problem = _planes(path, detector)
            if problem:
                missing.append(f"No cut-out of {d['exposure']} {detector}".rstrip()+f": {problem}")
        origin, parts = images[path, detector]
        if parts is not None and np.isfinite(d["x"]) and np.isfinite(d["y"]):
            x, y = float(d["x"])-origin[0], float(d["y"])-origin[1]
            date = [f"MJD {d['mjd']:.4f}"] if np.isfinite(d["mjd"]) else []
            words = [f"{d['exposure']} {detector}".strip(), str(d["band"]), *date]
            out.append(cutouts_at(parts, x, y, label=", ".join(words)))
    if len(detections) > MOST_CUTOUTS:
        missing.append(f"Cut-outs are of the first {MOST_CUTOUTS} of {len(detections)} detections.")
    return tuple(out), tuple(missing)


def _planes(path, detector):
    """(origin, planes) of the image that a catalog is of, with model and residual where there is a model file; and a problem."""
    try:
        found = FoundFit(path, detector)
    except (CrowdsourceError, OSError) as problem:
        return ((0, 0), None), str(problem)
    r = found.result
    if r.image is None:
        return ((0, 0), None), " ".join(found.missing)
    return (r.image.origin, {"data": r.image.data} if r.model is None else planes_of(r.image, r)), ""
