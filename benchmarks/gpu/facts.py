"""A fact is one JSON line, flushed as soon as it is known, and never measured twice.

    facts = Facts("kernels")      # $RESULTS/facts.jsonl, the lines whose part is "kernels"
    facts.measure("copy 8192x152064", lambda: {"ms": ...})

A fact that failed is a line too, with `error`, and so is one that could not be had, with `skipped`
(a peer that is not installed); both are tried again when the script runs again. In a
rehearsal (PERCBAL_GPU_REHEARSAL=1) all runs small and on the CPU; what needs a GPU gets a line with
`needs_gpu`, the place where it stopped, and every other failure ends the step.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

REHEARSAL = os.environ.get("PERCBAL_GPU_REHEARSAL") == "1"
DEVICE = "cpu" if REHEARSAL else "cuda"
RESULTS = Path(os.environ.get("RESULTS", "gpu_results"))
# what torch and Triton say where there is no GPU, or a build without CUDA
NO_GPU = (
    "no NVIDIA driver",
    "not compiled with CUDA",
    "No CUDA GPUs",
    "0 active drivers",
    "does not work on cpu",
    "CUDA driver",
    "only CUDA tensors",
    "needs a GPU",
)
Found = dict[str, object]
UNKNOWN = {"error", "skipped", "needs_gpu"}  # such a line is tried again


class Unsuitable(Exception):
    """This implementation cannot do this work here; the message says why."""


class NeedsGpu(RuntimeError):
    """Raised in a rehearsal by what has no small form on the CPU."""


class Facts:
    """The lines of one part of the results."""

    def __init__(self, part: str, folder: Path | None = None) -> None:
        self.part = part
        self.path = (folder or RESULTS) / "facts.jsonl"
        self.failed = False

    def known(self) -> dict[str, Found]:
        """key -> its last line."""
        return latest(self.path, self.part)

    def measure(self, key: str, run: Callable[[], Found]) -> Found | None:
        """The fact of this key: from the file if it is there, else by `run`; None if it failed."""
        known = self.known().get(key)
        if known is not None and not known.keys() & UNKNOWN:
            return known
        begin = time.monotonic()
        try:
            found = run()
        except Exception as error:  # noqa: BLE001  a fact that fails must not end the others
            found = self._failure(error)
        line = {"key": key, "seconds": round(time.monotonic() - begin, 1), **found}
        self.write(line)
        return None if found.keys() & UNKNOWN else line

    def write(self, line: Found) -> None:
        where = {"rehearsal": True} if REHEARSAL else {}
        text = json.dumps({"part": self.part} | line | where)
        print(text, flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a") as file:
            file.write(("\n" if cut else "") + text + "\n")  # a line cut short stays by itself

    def _failure(self, error: Exception) -> Found:
        if isinstance(error, Unsuitable):
            return {"skipped": str(error)}
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if REHEARSAL and (isinstance(error, NeedsGpu) or any(x in said for x in NO_GPU)):
            return {"needs_gpu": f"{_place(error)}: {said[:160]}"}
        self.failed = True
        return {"error": said, "at": _place(error)}

    def exit(self) -> None:
        """Ends the process: 1 where a fact failed."""
        sys.exit(int(self.failed))


def latest(path: Path, part: str) -> dict[str, Found]:
    """key -> its last whole line; a line cut in the middle counts as not measured."""
    return {str(line["key"]): line for line in lines(path) if line["part"] == part}


def lines(path: Path) -> Iterator[Found]:
    if not path.exists():
        return
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and {"part", "key"} <= line.keys():
            yield line


def _place(error: Exception) -> str:
    """The last line of this project that the error came through."""
    root = Path(__file__).parents[2]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(root) and ".venv" not in frame.filename
    ]
    last = frames[-1]
    return f"{Path(last.filename).relative_to(root)}:{last.lineno}"
