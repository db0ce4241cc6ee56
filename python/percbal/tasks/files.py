"""Files and folders that a person asks for: whole or not there, and one sentence if they fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


def check_count(n: int) -> None:
    """ValueError for a number of instances below 1."""
    if n < 1:
        raise ValueError(f"the number of instances must be 1 or more, got {n}")


def make_directory(directory: Path) -> None:
    """The directory and those above it. ValueError where it cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"{directory} is a file, not a directory") from None
    except OSError as error:
        raise ValueError(f"cannot write to directory {directory}: {error.strerror}") from None


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that its name never stands for half of it. OSError that names it if not."""
    part = path.with_name(path.name + ".tmp")
    try:
        write(part)
        with open(part, "rb+") as file:  # else a name may outlive its content when power fails
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OSError(f"cannot write {path}: {error.strerror or error}") from None
