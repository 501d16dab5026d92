"""Records of what became of tasks: small JSON files beside their outputs, written whole.

A task is done where its record says so, is of the same inputs and settings, and its outputs are there as it tells. While an
exposure is being worked on, each detector has a record beside its part; when it is gathered, one record holds them all.
"""
import hashlib
import json
import os
from pathlib import Path

from ..exposure.finished import FinishedDetectors, detector_file_name
from ..exposure.tasks import path_of_detector
from ..io.atomic import atomic_path
from ..io.names import distinct_name

ENDING = ".task.json"
DONE, FAILED = "done", "failed"
FIT, GATHER, INGEST, ASSEMBLE = "fit", "gather", "ingest", "assemble"
"""Kinds of tasks."""
LASTING = "input", "internal"
"""Failures that the same inputs and settings give again; others may pass."""


class Place:
    """Where the files of an exposure lie in a run's folder.

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
        """The record of its way into a store."""
        return self.folder/f"{self.label}.ingest.json"

    def model(self, kind):
        """A file of planes, by its kind."""
        return self.folder/f"{self.label}.{kind}.fits"

    def log(self, detector):
        """The log of a detector's fit."""
        return self.folder/(detector_file_name(detector)+".log")

    def picture(self, detector):
        """The picture of a detector; of all when its name is empty."""
        return path_of_detector(self.folder/f"{self.label}.png", distinct_name(detector) if detector else "")

    def detector_record(self, detector):
        """The record of a detector that is not gathered yet."""
        return FinishedDetectors(self.catalog).folder/(detector_file_name(detector)+ENDING)

    def lock(self, detector):
        """The file that is locked while a detector is worked on; None for the gathering."""
        return self.folder/f".{detector_file_name(detector) if detector is not None else 'gather'}.lock"


def key_of(entry, told):
    """What the results of an exposure depend on, as a checksum: its files, how they are read, and the settings.

    Parameters
    ----------
    entry : crowdsource.production.manifest.Entry
    told : object
        The settings that change results, as JSON takes them.
    """
    content = [entry.instrument, entry.exposure, sorted(dict(entry.options).items()), [i.sha256 for i in entry.inputs], told]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def output_of(path):
    """(name, bytes, SHA-256) of a file that a record tells of."""
    with open(path, "rb") as file:
        return [Path(path).name, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def write_record(path, record):
    """Write a record, a dict; its folder is made where it is not there."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")


def brief(record):
    """What a run keeps of a record: of a hundred thousand the whole would be much."""
    out = {n: record[n] for n in ("state", "reason", "error", "outputs", "seconds", "version")}
    if "detectors" in record:
        out["detectors"] = {d: brief(r) for d, r in record["detectors"].items()}
    return out


def read_record(path, key):
    """What is `brief` of a record of given inputs and settings whose outputs are there; None otherwise.

    Parameters
    ----------
    path : path-like
    key : str
        From `key_of`.

    Returns
    -------
    dict or None
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        if record["key"] != key:
            return None
        for name, size, _ in record["outputs"]:
            if os.stat(Path(path).parent/name).st_size != size:
                return None
        return brief(record) if record["state"] in (DONE, FAILED) else None
    except (OSError, ValueError, KeyError, TypeError):
        # not there, cut off by hand, or of something else
        return None


def read_whole(place, detector):
    """All that is recorded of a detector's fit, whatever its inputs and settings were; None where nothing is."""
    for path, found in ((place.detector_record(detector), lambda r: r), (place.record, lambda r: r["detectors"].get(detector))):
        try:
            return found(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def settled(place, entries, key):
    """What is known of an exposure's tasks.

    Parameters
    ----------
    place : Place
    entries : list of Entry
    key : str

    Returns
    -------
    gathered : dict or None
        The exposure's record.
    detectors : dict of str to dict
        Records of its detectors that are done or failed.
    """
    gathered = read_record(place.record, key)
    wanted = {e.detector for e in entries}
    if gathered is not None and (gathered["state"] != DONE or set(gathered["detectors"]) != wanted):
        gathered = None
    known = dict(gathered["detectors"]) if gathered is not None else {}
    if gathered is None or any(r["state"] == FAILED for r in known.values()):
        for detector in wanted:
            found = read_record(place.detector_record(detector), key)
            if found is not None:
                known[detector] = found
    return gathered, known


def problems(path):
    """Why the outputs that a record tells of are not as it says, by their checksums: a list of str."""
    out = []
    try:
        outputs = [(name, size, digest) for name, size, digest in json.loads(Path(path).read_text(encoding="utf-8"))["outputs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{path}: cannot be read as a record; run anew"]
    for name, size, digest in outputs:
        file = Path(path).parent/name
        try:
            if output_of(file)[1:] != [size, digest]:
                out.append(f"{file}: is not what {Path(path).name} tells of; run anew")
        except OSError as problem:
            out.append(f"{file}: cannot be read ({problem.strerror}); run anew")
    return out
