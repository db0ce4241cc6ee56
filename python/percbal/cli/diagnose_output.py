"""Where `percbal diagnose` puts its answers and its result."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from percbal.tasks.files import write_whole

if TYPE_CHECKING:
    from percbal.evaluate.answer_file import AnswerFile

WEIGHTS = (".safetensors", ".bin", ".pt")  # other files may be results


@contextmanager
def answers_kept(args: argparse.Namespace, about: Mapping[str, Any]) -> Iterator[AnswerFile | None]:
    """The file of answers beside ``--out``; None without it, or where they are in a file already.
    Says that it is there if stopped."""
    if args.out is None or args.completions is not None:
        yield None
        return
    from percbal.evaluate.answer_file import AnswerFile

    # told responses are kept as they were joined, by the rule of that number
    header = {
        **about,
        "joined": 2,
        "split": args.split,
        "seed": args.seed,
        "files": files_of(str(args.model)),
    }
    kept = AnswerFile(args.out.with_suffix(".answers.jsonl"), header)
    try:
        yield kept
    except (KeyboardInterrupt, OSError):
        if kept.path.is_file():
            print(f"answers are kept in {kept.path}; the same command goes on", file=sys.stderr)
        raise


def files_of(model: str) -> str:
    """A digest of the sizes and times of a model's weights; empty for what is no directory."""
    path = Path(model)
    if not path.is_dir():
        return ""
    found = [(file.name, file.stat()) for file in sorted(path.iterdir()) if file.suffix in WEIGHTS]
    said = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def write_result(path: Path, value: Any) -> None:
    """As JSON, whole or not at all, and on the disk before the answers beside it go.

    OSError that names the file.
    """

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())

    write_whole(path, write)
