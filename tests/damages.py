"""What can happen to a file on a disk."""

from __future__ import annotations

import os
from pathlib import Path


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def deleted(path: Path) -> None:
    path.unlink()


def bit_flipped(path: Path) -> None:
    """In the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = (truncated, emptied, deleted, bit_flipped)
