"""Jobs of a joint fit in tiles: the first look at an image, and the fit of a tile of the field."""
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.memory import keep_memory
from ..io.tables import read_table
from ..joint.config import JointConfig
from ..joint.files import OBJECTS, write_joint
from ..joint.frame import Frame
from ..joint.gather import SLACK
from ..joint.inputs import ImageFile, opened_images
from ..joint.known import known_stars
from ..joint.look import FirstLook
from ..joint.loop import NoImageError, fit_sources
from ..joint.reference import BandUnits, Placement, Reference
from ..joint.register import Registration
from ..joint.tiles import MARGIN, FieldTile, within
from .records import output_facts


def look(job):
    """Fit an image alone for a few passes, and write what it shows."""
    source = opened(job["file"], job["task"]).source(job["config"])
    found = FirstLook.at(source, job["passes"])
    found.write(job["look"])
    return dict(outputs=[output_facts(job["look"])], figures=dict(stars=len(found.stars.x)))


def tile(job):
    """Fit a tile on the parts of images that show it, and write its folder; none where no image shows a star there."""
    keep_memory()
    part, folder, images = FieldTile(**job["tile"]), Path(job["folder"]), job["images"]
    shutil.rmtree(folder, ignore_errors=True)
    found = {i["name"]: opened(i["file"], i["name"]) for i in images}
    sources = [cut_out(found[i["name"]].source(job["config"]), i["box"]) for i in images]
    placement = Placement({i["name"]: registration(i) for i in images}, reference(job["reference"]))
    known = None if job["objects"] is None else around(part, known_stars(read_table(job["objects"])))
    try:
        result = fit_sources(sources, JointConfig(**job["joint"]), known=known, placement=placement)
    except NoImageError as problem:
        return dict(figures=dict(objects=0), error=str(problem))
    result = within(result, part, placement.reference.origin, SLACK)
    write_joint(result, folder, inputs={name: image.inputs for name, image in found.items()})
    return dict(outputs=[output_facts(folder/OBJECTS)], figures=dict(objects=len(result.objects)))


def opened(file, name):
    """An image of a job, with the name that it has among all."""
    (image, *others), refused = opened_images([ImageFile(**file)])
    if others or refused:
        raise InputError(f"{file['path']}: is not what it was when the fit began; run again")
    return replace(image, name=name)


def cut_out(source, box):
    """The source of a part (x0, x1, y0, y1) of an image."""
    return replace(source, image=partial(part_of, source.read, box))


def part_of(read, box):
    """A part of an image that is read now."""
    return read().cutout(*box)


def around(part, known):
    """The stars of a list that lie in a tile or its margin."""
    return known.subset(part.depth(known.sources.x, known.sources.y) > -MARGIN)


def frame_values(frame):
    """A frame as JSON takes it."""
    return {**vars(frame), "coefficients": frame.coefficients.tolist()}


def frame_of(values):
    """The frame that `frame_values` gave."""
    return Frame(**{**values, "coefficients": np.array(values["coefficients"]), "middle": tuple(values["middle"])})


def registration(values):
    """The `Registration` of an image of a job."""
    return Registration(frame=frame_of(values["frame"]), **{n: values[n] for n in ("scale", "stars", "rms")})


def reference(values):
    """The `Reference` of a job; world coordinates come from a first look."""
    return reference_at(values, FirstLook.read(values["look"]).stars)


def reference_at(values, first):
    """The `Reference` of values as JSON has them, with the world coordinates and the origin of its first image or look."""
    bands = {name: BandUnits(**units) for name, units in values["bands"].items()}
    return Reference(name=values["name"], origin=tuple(values["origin"]), wcs=first.wcs, wcs_origin=first.origin,
                     frame=frame_of(values["frame"]), band=values["band"], bands=bands,
                     next_id=values["next_id"], first_row=values["first_row"])
