"""Records of what became of tasks: small JSON files beside their outputs, written whole.

A task is done when its record says so, the record is of the same inputs and settings, and the outputs that it names are there.
While an exposure is being worked on, each detector has a record beside its finished catalog; when the exposure is gathered, one
record holds them all.
"""
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..exposure.finished import FinishedDetectors, detector_file_name
from ..exposure.tasks import path_of_detector
from ..io.atomic import atomic_path, remove_temporary_files
from ..io.bounded import read_json
from ..io.file_names import distinct_name

ENDING = ".task.json"
DONE, FAILED = "done", "failed"
FIT, GATHER, INGEST, ASSEMBLE, LOOK, TILE = "fit", "gather", "ingest", "assemble", "look", "tile"
FIRST_FIT, STAR_RUN, NOISE_RUN = "first_fit", "star_run", "noise_run"
"""Kinds of tasks."""
UNUSABLE = OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError
"""What reading a record raises that is not there, damaged, or a file of another kind."""
LASTING = "input", "internal"
"""Failures that the same inputs and settings give again; others may pass."""


class OutputPaths:
    """Paths of the files of an exposure in the folder of a run.

    Parameters
    ----------
    out : path-like
        The run's folder.
    label : str
        Of the exposure.
    """

    def __init__(self, out, label):
        self.label, self.folder = label, Path(out)/label

    @property
    def catalog(self):
        """The exposure's catalog."""
        return self.folder/f"{self.label}.cat.fits"

    @property
    def record(self):
        """The record of the gathered exposure."""
        return self.folder/(self.label+ENDING)

    @property
    def ingested(self):
        """The record that it was ingested into a store."""
        return self.folder/f"{self.label}.ingest.json"

    def image_file(self, kind):
        """The model or info file, by its kind."""
        return self.folder/f"{self.label}.{kind}.fits"

    def log(self, detector):
        """The log of a detector's fit."""
        return self.folder/(detector_file_name(detector)+".log")

    def picture(self, detector):
        """The picture of a detector; the name common to all for an empty one."""
        return path_of_detector(self.folder/f"{self.label}.png", distinct_name(detector) if detector else "")

    def page(self, detector):
        """The report page of a detector; the name common to all for an empty one."""
        return path_of_detector(self.folder/f"{self.label}.html", distinct_name(detector) if detector else "")

    def detector_record(self, detector):
        """The record of a detector that is not gathered yet."""
        return FinishedDetectors(self.catalog).folder/(detector_file_name(detector)+ENDING)

    def lock(self, detector):
        """The file that is locked while a detector is worked on; None for the gathering."""
        return self.folder/f".{detector_file_name(detector) if detector is not None else 'gather'}.lock"


def results_key(entry, settings):
    """What the results of an exposure depend on, as a checksum: its files, how they are read, and the settings.

    Parameters
    ----------
    entry : crowdsource.production.manifest.ManifestEntry
    settings : object
        Those that change results, as JSON takes them.
    """
    return content_key([entry.instrument, entry.exposure, sorted(dict(entry.options).items()), [i.sha256 for i in entry.inputs],
                        settings])


def content_key(content):
    """A checksum of what results depend on, of anything that JSON takes or that has a text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def ingest_key(store, digest):
    """What the record of an ingest is of: the store, and the catalog by its checksum."""
    return f"{store} {digest}"


def ingest_failure(paths, gathered):
    """Why a catalog has not come into the store that it was given to last; empty where it has, or was given to none.

    Parameters
    ----------
    paths : OutputPaths
    gathered : dict
        Summary of the record of its gathering.
    """
    try:
        record = read_json(paths.ingested)
        current = str(record["key"]).endswith(f" {gathered['outputs'][0][2]}")
        return str(record["error"]) if current and record["state"] == FAILED else ""
    except UNUSABLE:
        return ""


def output_facts(path):
    """[name, bytes, SHA-256] of a file, as records hold them."""
    with open(path, "rb") as file:
        return [Path(path).name, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def write_record(path, record):
    """Write a record, a dict; its folder is made where it is not there."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")


def record_summary(record):
    """What a run keeps of a record in memory, where there may be a hundred thousand."""
    out = {n: record[n] for n in ("state", "reason", "error", "outputs", "seconds", "version")}
    if "detectors" in record:
        out["detectors"] = {d: record_summary(r) for d, r in record["detectors"].items()}
    return out


def lasts(record):
    """Whether a task is done, or failed for a reason that the same inputs give again; None stands for no record."""
    return record is not None and (record["state"] == DONE or record["reason"] in LASTING)


def read_record(path, key):
    """The `record_summary` of a record, if it is of the same inputs and settings and its outputs are there; None otherwise.

    Parameters
    ----------
    path : path-like
    key : str
        From `results_key`.

    Returns
    -------
    dict or None
    """
    try:
        record = read_json(path)
        if record["key"] != key:
            return None
        for name, size, _ in record["outputs"]:
            if os.stat(Path(path).parent/name).st_size != size:
                return None
        return record_summary(record) if record["state"] in (DONE, FAILED) else None
    except UNUSABLE:
        return None


def read_detector_record(paths, detector):
    """The whole record of a detector, whatever its inputs and settings were; None where there is none."""
    for path, found in ((paths.detector_record(detector), lambda r: r), (paths.record, lambda r: r["detectors"].get(detector))):
        try:
            return found(read_json(path))
        except UNUSABLE:
            continue
    return None


@dataclass(frozen=True)
class KnownRecords:
    """What is known about the tasks of an exposure.

    Attributes
    ----------
    gathered : dict or None
        Summary of the exposure's record; None where it is not gathered whole.
    detectors : dict of str to dict
        Summaries of its detectors that are done or failed.
    """

    gathered: dict
    detectors: dict


def known_records(paths, entries, key):
    """Records of an exposure and its detectors that are of the same inputs and settings.

    Parameters
    ----------
    paths : OutputPaths
    entries : list of Entry
    key : str

    Returns
    -------
    KnownRecords
    """
    gathered = read_record(paths.record, key)
    wanted = {e.detector for e in entries}
    if gathered is not None and (gathered["state"] != DONE or set(gathered["detectors"]) != wanted):
        gathered = None
    known = dict(gathered["detectors"]) if gathered is not None else {}
    if gathered is None or any(r["state"] == FAILED for r in known.values()):
        for detector in wanted:
            found = read_record(paths.detector_record(detector), key)
            if found is not None:
                known[detector] = found
    return KnownRecords(gathered, known)


def gathered_whole(record, detectors, done):
    """Whether a record is of a gathering of these detectors, of which at least those in `done` were done."""
    recorded = record.get("detectors", {})
    return record["state"] == DONE and set(recorded) == set(detectors) and all(recorded[d]["state"] == DONE for d in done)


def remove_finished(paths):
    """Remove the finished detectors of an exposure whose catalog holds all of them, and what workers left that were killed."""
    shutil.rmtree(FinishedDetectors(paths.catalog).folder, ignore_errors=True)
    remove_temporary_files(paths.folder)


def differences(path):
    """How the outputs of a record differ from it by their checksums: a list of messages."""
    out = []
    try:
        outputs = [(str(name), size, digest) for name, size, digest in read_json(path)["outputs"]]
    except UNUSABLE:
        return [f"{path}: cannot be read as a record; run anew"]
    for name, size, digest in outputs:
        file = Path(path).parent/name
        try:
            if output_facts(file)[1:] != [size, digest]:
                out.append(f"{file}: differs from its checksum in {Path(path).name}; run anew")
        except OSError as problem:
            out.append(f"{file}: cannot be read ({problem.strerror}); run anew")
    return out
