"""Keeps what ``percbal sft --help`` and ``percbal grpo --help`` say: TRL takes seconds to import.

One file a command in ``$XDG_CACHE_HOME/percbal`` (``~/.cache/percbal``). It counts as long as every
source file that it was made from is as it was, so another TRL, transformers or torch makes it anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from percbal.cli.help import HELP, Options, help_text

SOURCES = ("percbal", "trl", "transformers")  # packages whose files decide what is said
VERSIONS = ("torch",)  # packages whose version does
STARTED = time.time_ns()  # before any of them is imported


def kept_help(command: str, arguments: list[str]) -> str | None:
    """What was kept of a command's help; None if none counts, or the arguments ask for no help."""
    asked = HELP.intersection(arguments)
    if not asked:
        return None
    try:
        kept = json.loads(_file(command).read_bytes())
        if any(_state(path) != state for path, state in kept["files"].items()):
            return None
        return help_text(command, kept["options"], everything="--help-all" in asked)
    except (OSError, RuntimeError):  # none, or no home
        return None
    except (ValueError, KeyError, TypeError, AttributeError):  # not as it was written
        return None


def keep_help(command: str, options: Options) -> None:
    """Keep what was read off the classes, whole or not at all."""
    with suppress(OSError, RuntimeError):  # no home, or one that cannot be written
        file = _file(command)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        files = {path: _state(path) for path in _files()}
        if any(changed >= STARTED for _, changed in files.values()):
            return  # since it was read, perhaps
        try:
            partial.write_text(json.dumps({"files": files, "options": options}))
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)


def _file(command: str) -> Path:
    """Its name tells environments apart, by where their packages are."""
    places = [spec.origin for name in (*SOURCES, *VERSIONS) if (spec := find_spec(name))]
    environment = hashlib.sha256(json.dumps(places).encode()).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "percbal" / f"help-{command}-{environment}.json"


def _files() -> Iterator[str]:
    """The source of every module that was imported to make the classes."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name.split(".")[0] in SOURCES or name in [f"{v}.version" for v in VERSIONS]):
            yield file


def _state(path: str) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns]
