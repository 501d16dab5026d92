"""A joint fit in tiles: each image is looked at, all are registered, each tile is fitted, and the tiles are gathered.

Looks and tiles are tasks that any executor does. They leave records in a folder beside the wanted one, so that the same call goes
on where one before has been stopped; the folder goes when the fit is done.
"""
import logging
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.errors import CrowdsourceError, DataFileError, InputError, OutputError
from ..io.checksums import checksums
from ..io.locks import take_lock
from ..io.tables import read_table
from ..joint.files import check_outputs
from ..joint.gather import FinishedTile, gather
from ..joint.grid import Grid
from ..joint.inputs import opened_images
from ..joint.known import known_stars
from ..joint.look import FirstLook
from ..joint.loop import check_some, depth, registrations
from ..joint.motion import years_of
from ..joint.parallax import check_dates, factors_of
from ..joint.reference import GIVEN
from ..joint.tiles import cut_frame, field_tiles
from .executors import records_of
from .joint_jobs import frame_values
from .joint_jobs import reference as reference_of
from .records import DONE, ENDING, FAILED, LOOK, TILE, content_key, lasts

log = logging.getLogger(__name__)
ROWS = 1 << 20
"""Rows of an image in a tile at most: those of the next tile have larger numbers."""


@dataclass(frozen=True, eq=False, kw_only=True)
class JointReport:
    """What a joint fit in tiles has become.

    Attributes
    ----------
    objects, images, tiles : int
        Numbers of them.
    reference : str
    refused : dict of str to str
        Images that were left out, and why.
    """

    objects: int
    images: int
    tiles: int
    reference: str
    refused: dict


@dataclass(frozen=True, eq=False, kw_only=True)
class SeenImage:
    """An image that was looked at.

    Attributes
    ----------
    file : dict
        The `ImageFile` as jobs are given it.
    depends : list
        What results from it depend on.
    place : pathlib.Path
        File of the look.
    look : crowdsource.joint.look.FirstLook or None
        None before it was made.
    """

    file: dict
    depends: list
    place: Path
    look: FirstLook = None

    @property
    def stars(self):
        """Its bright stars."""
        return self.look.stars


@dataclass(eq=False, kw_only=True)
class TiledFit:
    """A joint fit in tiles.

    Attributes
    ----------
    files : sequence of crowdsource.joint.inputs.ImageFile
    config : mapping
        Configuration of the fit, nested as in a TOML file.
    joint : crowdsource.joint.config.JointConfig
    out : path-like
        The wanted folder.
    side : float
        Of a tile, about, pixels of the reference.
    workers : crowdsource.production.executors.Workers
        They are closed at the end.
    objects : path-like, optional
        Objects of an earlier fit, whose stars stay.
    overwrite : bool
    key : str
        As that of `crowdsource.joint.files.write_joint`.
    """

    files: tuple
    config: dict
    joint: object
    out: Path
    side: float
    workers: object
    objects: Path = None
    overwrite: bool = False
    key: str = ""
    refused: dict = field(default_factory=dict, init=False)

    def __call__(self, progress=None):
        """Do all that is left.

        Returns
        -------
        JointReport

        Raises
        ------
        CrowdsourceError
            When nothing can be fitted, the folder cannot be written, or a tile has failed; all others are done then.
        """
        self.progress = progress or (lambda *_: None)
        check_outputs(self.out, self.overwrite)
        self.folder = Path(self.out).absolute().with_name(f".{Path(self.out).name}.tiles")
        done = False
        try:
            self.folder.mkdir(exist_ok=True)
            lock = take_lock(self.folder/"lock")
            if lock is None:
                raise OutputError(f"{self.folder}: another process works there; wait for its end, or choose another name")
            try:
                report = self._fitted()
                done = True
            finally:
                lock.free()
        except OSError as problem:
            if isinstance(problem, CrowdsourceError):
                raise
            raise OutputError(f"{self.folder}: cannot be written ({problem.strerror or problem}); free space or choose another "
                              "place") from problem
        finally:
            self.workers.close(abandon=not done)
        shutil.rmtree(self.folder)
        return report

    def _fitted(self):
        """All steps; the `JointReport`."""
        seen = self._looks()
        known = None if self.objects is None else known_stars(read_table(self.objects))
        order = sorted(seen, key=lambda n: (depth(seen[n].stars), n))
        check_some(order, "fitted", self.refused)
        found, alien = registrations(order, {n: seen[n].stars for n in order}, known and known.listed)
        self.refused |= alien
        check_some(found, "registered", self.refused)
        reference = reference_values(found, seen, known)
        if self.joint.moving:
            check_motions(self.joint.parallax, found, seen, reference)
        tiles = field_tiles([r.frame for r in found.values()], [seen[n].stars.shape for n in found], self.side)
        objects = None if self.objects is None else str(Path(self.objects).absolute())
        given = dict(reference=reference, objects=objects), checksums([objects] if objects else [])
        jobs = [self._tile_job(k, tile, found, seen, *given) for k, tile in enumerate(tiles)]
        records = self._done([job for job in jobs if job["images"]])
        failed = {task: r["error"] for task, r in records.items() if r["state"] == FAILED}
        if failed:
            told = "; ".join(f"{task}: {why}" for task, why in failed.items())
            raise CrowdsourceError(f"{told}; what is done is in {self.folder}: run again")
        parts = [FinishedTile(tile=t, folder=self.folder/t.name) for t in tiles if records.get(t.name, {}).get("outputs")]
        if not parts:
            raise InputError("no tile shows a star")
        names = [n for n in seen if n in found]
        count = gather(parts, self.out, names=names, origin=reference["origin"], next_id=reference["next_id"],
                       refused=self.refused, overwrite=self.overwrite, key=self.key)
        for name, why in self.refused.items():
            log.warning("%s is left out: %s", name, why)
        return JointReport(objects=count, images=len(names), tiles=len(parts), reference=reference["name"], refused=self.refused)

    def _looks(self):
        """What each image that can be fitted shows alone, a `SeenImage` by name."""
        images, self.refused = opened_images(self.files)
        seen, jobs = {}, []
        # the order in which they are given does not matter
        for k, image in enumerate(sorted(images, key=lambda i: i.name)):
            file, place = asdict(image.file), self.folder/f"look-{k:05d}.fits"
            try:
                depends = [file, self.config, [digest for _, digest in checksums(image.inputs)]]
            except DataFileError as problem:
                self.refused[image.name] = str(problem)
                continue
            seen[image.name] = SeenImage(file=file, depends=depends, place=place)
            jobs.append(dict(kind=LOOK, task=image.name, key=content_key([depends, self.joint.first_passes]), look=str(place),
                             record=str(place.with_suffix(ENDING)), file=file, config=self.config,
                             passes=self.joint.first_passes))
        records = self._done(jobs)
        self.refused |= {name: r["error"] for name, r in records.items() if r["state"] == FAILED}
        return {name: replace(image, look=FirstLook.read(image.place)) for name, image in seen.items()
                if records[name]["state"] == DONE}

    def _tile_job(self, number, tile, found, seen, common, sums):
        """The job of a tile; its images are those that show it, and its results depend on some checksums as well."""
        shown = []
        for name, placed in found.items():
            box = tile.shows(placed.frame, seen[name].stars.shape)
            if box is not None:
                shown.append(dict(name=name, file=seen[name].file, box=box, scale=placed.scale, stars=placed.stars,
                                  rms=placed.rms, frame=frame_values(cut_frame(placed.frame, box))))
        folder = self.folder/tile.name
        job = dict(common, kind=TILE, task=tile.name, tile=asdict(tile), images=shown, config=self.config,
                   joint=asdict(self.joint), reference={**common["reference"], "first_row": number*ROWS})
        return dict(job, key=content_key([job, [seen[i["name"]].depends for i in shown], sums]), folder=str(folder),
                    record=str(folder/(tile.name+ENDING)), log=str(folder.with_suffix(".log")))

    def _done(self, jobs):
        """Records by task, after all jobs that were not done before."""
        steps = records_of(self.workers, jobs)
        records = next(steps)
        for records in steps:
            self.progress(jobs[0]["kind"], sum(map(lasts, records.values())), len(jobs), {})
        return records


def reference_values(found, seen, known):
    """The reference as jobs are given it.

    Parameters
    ----------
    found : dict of str to crowdsource.joint.register.Registration
        The first one tells.
    seen : dict of str to SeenImage
    known : crowdsource.joint.known.KnownStars or None
    """
    first, bands = next(iter(found)), {}
    for name, placed in found.items():
        look = seen[name].look
        bands.setdefault(look.band, dict(image=name, scale=placed.scale, unit=look.unit, zeropoint=look.zeropoint))
    return dict(name=first if known is None else GIVEN, origin=seen[first].stars.origin if known is None else (0, 0),
                look=str(seen[first].place), frame=frame_values(found[first].frame), band=seen[first].look.band,
                bands=dict(sorted(bands.items())), next_id=0 if known is None else int(known.ids.max())+1,
                first_row=0)


def check_motions(parallax, found, seen, reference):
    """Check that the images of the whole field can tell motions, and parallaxes where wanted: those of a tile may not.

    Parameters
    ----------
    parallax : bool
    found, seen
        As `reference_values`, which gave `reference`.

    Raises
    ------
    InputError
        When they cannot.
    """
    looks = [seen[name].look for name in found]
    times = np.array([look.mjd for look in looks])
    years_of(list(found), times)
    if parallax:
        grid = Grid.around([r.frame for r in found.values()], [look.stars.shape for look in looks], looks[0].stars.fwhm)
        check_dates(times, factors_of(reference_of(reference), grid.middle, times)[0])
