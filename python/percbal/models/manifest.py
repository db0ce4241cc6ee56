"""A directory that is whole or not there: written aside, synced, listed in a manifest, renamed.

The manifest, written last, has the size and the SHA-256 of every file. It tells what was cut off by
a kill, a full disk or a damaged disk from what is whole, before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MANIFEST = "percbal_manifest.json"
THREADS = 4  # hashing gives up the interpreter's lock


def seal(directory: Path) -> None:
    """List every file in ``directory``, and see to it that all of them are on the disk."""
    files = _files(directory)
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(_sync, files):
            pass
        digests = list(pool.map(_digest, files))
    listed = {
        path.relative_to(directory).as_posix(): {"size": path.stat().st_size, "sha256": digest}
        for path, digest in zip(files, digests, strict=True)
    }
    partial = directory / f"{MANIFEST}.partial"
    partial.write_text(json.dumps({"sha256": _of_list(listed), "files": listed}, indent=1))
    _sync(partial)
    os.replace(partial, directory / MANIFEST)
    for folder in {directory, *(path.parent for path in files)}:
        _sync(folder)


def publish(written: Path, target: Path) -> None:
    """Give a sealed directory its name, in place of what has it."""
    aside = written.with_name(f"{written.name}.old")
    if target.exists():  # of the same step, from before
        os.replace(target, aside)
    os.replace(written, target)
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def is_sealed(directory: Path) -> bool:
    """Whether there is a manifest, readable or not."""
    return (directory / MANIFEST).is_file()


def damage(directory: Path, *, skip: tuple[str, ...] = ()) -> str | None:
    """What is wrong with a sealed directory, one sentence that names the file; None if it is whole.

    skip: suffixes of files that are not looked at.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        listed = manifest["files"]
        if manifest["sha256"] != _of_list(listed):
            return f"its {MANIFEST} has changed"
        wanted = {
            directory / name: (int(entry["size"]), str(entry["sha256"]))
            for name, entry in listed.items()
            if not name.endswith(skip or ("\0",))
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return f"its {MANIFEST} cannot be read"
    for path, (size, _) in wanted.items():
        if not path.is_file():
            return f"its {path.relative_to(directory)} is missing"
        if path.stat().st_size != size:
            return f"its {path.relative_to(directory)} has {path.stat().st_size} bytes, not {size}"
    with ThreadPoolExecutor(THREADS) as pool:
        for path, found in zip(wanted, pool.map(_digest_or_error, wanted), strict=True):
            if isinstance(found, OSError):
                return f"its {path.relative_to(directory)} cannot be read ({found.strerror})"
            if found != wanted[path][1]:
                return (
                    f"its {path.relative_to(directory)} has changed (if on purpose, delete its "
                    f"{MANIFEST})"
                )
    return None


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_or_error(path: Path) -> str | OSError:
    try:
        return _digest(path)
    except OSError as error:  # a bad sector
        return error


def _of_list(listed: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
