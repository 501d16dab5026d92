"""Whether every byte of a store is the one that was written: the chain of commits, and each file against its checksum."""
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import CrowdsourceError
from ...io.bounded import read_json
from . import commit_log
from .store import LOCKS, RELEASES, STORE_FILE

RELEASE = "release.json"


@dataclass(frozen=True)
class VerifyReport:
    """The result of a check of all files.

    Attributes
    ----------
    checked : int
        Number of files whose checksum was compared.
    problems : tuple of str
    orphans : tuple of str
        Files in the store that no commit and no release lists.
    """

    checked: int
    problems: tuple
    orphans: tuple


def verify(store, progress=None):
    """Check all files of a store.

    Parameters
    ----------
    store : crowdsource.survey.store.store.Store
    progress : callable, optional
        Called with ("verify", number, total, figures) after each file.

    Returns
    -------
    VerifyReport
    """
    with store.reading():
        files, known, problems = dict.fromkeys((STORE_FILE, *LOCKS)), set(), []
        _log(store, files, known, problems)
        _releases(store, files, problems)
        sums = [(path, digest) for path, digest in files.items() if digest is not None]
        for k, (path, digest) in enumerate(sums, 1):
            problem = _checksum_problem(store.path/path, digest)
            if problem:
                problems.append(f"{path}: {problem}")
            if progress:
                progress("verify", k, len(sums), dict(problems=len(problems)))
        orphans = () if problems else _orphans(store, files, known)
    return VerifyReport(len(sums)+len(known), tuple(problems), orphans)


def _orphans(store, files, known):
    """Files that no commit and no release lists; commits that others have made meanwhile count."""
    with store.writing() as later:
        newer = {commit_log.commit_path(store.path, n).relative_to(store.path).as_posix()
                 for n in range(len(known)+1, later.number+1)}
        if later.checkpoint:
            newer.add(later.checkpoint["path"])
        found = sorted(p.relative_to(store.path).as_posix() for p in store.path.rglob("*") if p.is_file())
        return tuple(p for p in found if not any(p in names for names in (files, known, newer, later.files())))


def _log(store, files, known, problems):
    """Follow the chain of commits: their own files go to `known`, those that they list to `files`, with their checksums."""
    state, newest = commit_log.StoreState(number=0, sha256=store.root), commit_log.newest_commit(store.path)
    for number in range(1, newest+1):
        path = commit_log.commit_path(store.path, number).relative_to(store.path).as_posix()
        known.add(path)
        try:
            logged = commit_log.read_commit(store.path, number)
        except CrowdsourceError as problem:
            problems.append(str(problem))
            # its changes are lost, but the rest of the log can still be checked
            state = replace(state, number=number, sha256="")
            continue
        if state.sha256 and logged.previous != state.sha256:
            problems.append(f"{path}: does not follow on commit {number-1}; restore the log from a copy")
        checkpoint = logged.checkpoint
        gone = {s.path: s.sha256 for s in logged.commit.removed}
        gone.update({checkpoint["path"]: checkpoint["sha256"]} if checkpoint else {})
        files.update((p, d) for p, d in gone.items() if (store.path/p).exists())
        state = state.after(logged, number)
    files.update(state.files())


def _releases(store, files, problems):
    """Add the files that the releases list to `files`."""
    for path in sorted((store.path/RELEASES).glob(f"*/{RELEASE}")):
        folder = path.parent.relative_to(store.path).as_posix()
        files[f"{folder}/{RELEASE}"] = None
        try:
            content = read_json(path)
            own = content.pop(commit_log.CHECKSUM)
            if json.loads(commit_log.signed_json(content))[commit_log.CHECKSUM] != own:
                problems.append(f"{folder}/{RELEASE}: its checksum is not that of its content; restore it from a copy")
            files.update((f"{folder}/{name}", digest) for name, digest in content["files"].items())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
            problems.append(f"{folder}/{RELEASE}: cannot be read ({problem}); restore it from a copy")


def _checksum_problem(path, digest):
    """What is wrong with a file; None when its checksum is right."""
    try:
        with open(Path(path), "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        return f"cannot be read ({problem.strerror})"
    return None if found == digest else "its checksum is not the one it was written with; restore it from a copy"
