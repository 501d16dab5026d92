"""A field of many images in the jobs of a completeness: its joint fit as files, and what is read back of that."""
import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..core.errors import InputError
from ..exposure.results import config_lines
from ..io.atomic import atomic_path
from ..io.bounded import read_json
from ..io.fits_tables import table_hdu
from ..io.hdus import opened
from ..io.tables import read_table
from ..joint.config import JointConfig
from ..joint.inputs import ImageFile, opened_images
from ..joint.known import known_stars
from ..joint.lightcurves import ScaleMap
from ..joint.loop import fit_sources
from ..joint.reference import Placement
from ..psf.formats.native import read_hdus, to_hdus
from ..validate.completeness.field import FieldImage, FieldRuns, JointAgain, field_runs
from ..validate.completeness.files import plain_table
from .joint_jobs import frame_values, reference_at, registration

log = logging.getLogger(__name__)
FIT, PLACES = "fit.fits", "fit.json"
"""Files of the joint fit in the folder of the runs: catalogs, PSFs, models and skies; and how images lie to each other."""


def depends(job):
    """What the joint fit depends on, but for the program; memory changes no result."""
    return [job["files"], job["config"], {**job["joint"], "memory": None}, job["sums"]]


def sources_of(job):
    """The `ImageSource` of each image of a job, images that cannot be opened, and the stars that are given."""
    images, refused = opened_images([ImageFile(**f) for f in job["files"]])
    known = None if job["objects"] is None else known_stars(read_table(job["objects"]))
    return [i.source(job["config"]) for i in images], refused, known


def first_fit(job):
    """Fit all images, and write what runs need of that; gives the files and the number of stars."""
    (sources, refused, known), joint = sources_of(job), JointConfig(**job["joint"])
    result = fit_sources(sources, joint, job["threads"], known=known)
    runs, folder = field_runs(result, sources, joint, known=known), Path(job["folder"])
    hdus = [fits.PrimaryHDU(), *(table_hdu(table, f"CATALOG{k}") for k, table in enumerate(runs.catalogs.values()))]
    for k, image in enumerate(runs.images):
        hdus += to_hdus(image.psf, f"PSF{k}")
        hdus += [fits.ImageHDU(plane, name=f"{name}{k}") for name, plane in zip(("MODEL", "SKY"), image.planes())]
    with atomic_path(folder/FIT, overwrite=True) as temporary:
        fits.HDUList(hdus).writeto(temporary)
    places = dict(refused={**refused, **result.refused}, config=config_lines(result.fits[0].config), **places_of(runs))
    with atomic_path(folder/PLACES, overwrite=True) as temporary:
        temporary.write_text(json.dumps(places), encoding="utf-8")
    return [folder/FIT, folder/PLACES], len(result.objects)


def places_of(runs):
    """How the images of a `FieldRuns` lie to each other, as JSON takes it."""
    placement, reference = runs.placement, runs.placement.reference
    lie = {name: dict(frame=frame_values(r.frame), scale=r.scale, stars=int(r.stars), rms=float(r.rms))
           for name, r in placement.registrations.items()}
    told = dict(name=reference.name, origin=list(map(int, reference.origin)), frame=frame_values(reference.frame),
                band=reference.band, bands={band: asdict(units) for band, units in reference.bands.items()},
                next_id=reference.next_id, first_row=reference.first_row)
    scales = {i.name: {**vars(i.scale), "coefficients": i.scale.coefficients.tolist()} for i in runs.images}
    return dict(bands=runs.bands, registrations=lie, scales=scales, reference=told)


def read_runs(job):
    """The `FieldRuns` of a job, and the configuration of its fits in lines.

    Raises
    ------
    InputError
        When images are no longer there.
    """
    (sources, _, known), folder = sources_of(job), Path(job["folder"])
    places = read_json(folder/PLACES)
    for name, why in places["refused"].items():
        log.warning("%s is left out: %s", name, why)
    by_name = {s.name: s for s in sources}
    if lacking := [name for name in places["scales"] if name not in by_name]:
        raise InputError(f"{', '.join(lacking)}: cannot be opened now; run again when it is there")
    used = [by_name[name] for name in places["scales"]]
    lie = {name: registration(values) for name, values in places["registrations"].items()}
    reference = reference_at(places["reference"], by_name[next(iter(lie))].read())
    images = []
    with opened(folder/FIT) as hdus:
        catalogs = {band: plain_table(hdus[f"CATALOG{k}"]) for k, band in enumerate(places["bands"])}
        for k, source in enumerate(used):
            values = places["scales"][source.name]
            scale = ScaleMap(coefficients=np.array(values["coefficients"]), middle=values["middle"], half=values["half"])
            images.append(FieldImage(name=source.name, read=source.read, psf=read_hdus(hdus, f"PSF{k}"), scale=scale,
                                     frame=lie[source.name].frame, planes=partial(read_planes, folder/FIT, k)))
    again = JointAgain(tuple(used), JointConfig(**job["joint"]), job["threads"], known)
    runs = FieldRuns(images=tuple(images), catalogs=catalogs, placement=Placement(lie, reference), fit=again)
    joint = [f"joint.{name} = {json.dumps(value)}" for name, value in job["joint"].items() if value is not None]
    return runs, [*places["config"], *joint]


def read_planes(path, number):
    """Model and sky of an image of some number in the file of a joint fit."""
    with opened(path) as hdus:
        return tuple(np.array(hdus[f"{name}{number}"].data, dtype=np.float32) for name in ("MODEL", "SKY"))
