"""Whether a registration is older than the first line of its results, by git."""

from __future__ import annotations

import subprocess
from pathlib import Path


def committed_before(said: Path, lines: Path) -> bool | None:
    """Whether the file as it is was committed before the first line; None where git cannot tell.

    Lines that were taken away, all of them, are none: what counts is when the file with lines was
    added last. A shallow clone has no history to look at.
    """
    root = said.parent
    if _git(root, "rev-parse", "--is-shallow-repository") != "false":
        return None
    last = _git(root, "log", "-1", "--format=%H", "--", said.name)
    first = _git(lines.parent, "log", "--diff-filter=A", "--format=%H", "--", lines.name)
    if not last or not first:
        return None
    added = first.splitlines()[0]
    return last != added and _git(root, "merge-base", "--is-ancestor", last, added) is not None


def _git(folder: Path, *arguments: str) -> str | None:
    """What it says; None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
