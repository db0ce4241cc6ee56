"""Makes a data set of a task: Parquet files by split, in several processes, and a data card.

Everything grows in ``DIRECTORY.partial``, file by file, which gets its name when all is there. A
second call skips the files that are whole.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from percbal.cli.task_card import card
from percbal.tasks import Instance, Task
from percbal.tasks.files import make_directory, write_whole
from percbal.tasks.splits import check_split

ROWS = 500  # in a file
MADE_WITH = "made_with.json"
ANSWERED = ("train", "train_sft")  # splits whose rows have a response, as in the paper's data sets


@dataclass(frozen=True)
class Piece:
    """One file: rows ``start`` to ``start + rows - 1`` of a split."""

    task: Task
    split: str
    seed: int
    start: int
    rows: int
    path: Path

    def make(self) -> int:
        """Write the file, unless it is there; returns its rows."""
        if not self.path.exists():
            from datasets import Dataset, disable_progress_bars

            disable_progress_bars()  # one for each file
            indices = range(self.start, self.start + self.rows)
            made = (self.task.generate(i, self.split, self.seed) for i in indices)
            rows = [row(self.task, self.split, instance) for instance in made]
            data = Dataset.from_list(rows, features=features())
            write_whole(self.path, lambda part: data.to_parquet(str(part)))
        return self.rows


def features() -> Any:
    """The columns: the paper's four, then percbal's."""
    from datasets import Features, Image, Value

    texts = ("ground_truth", "response", "task", "perception", "grammar", "answer", "truth")
    columns = {"query": Value("string"), "image": Image()}
    return Features(columns | {name: Value("string") for name in texts})


def row(task: Task, split: str, instance: Instance) -> dict[str, Any]:
    """One row. ``truth`` is what `Task.score` takes, as JSON."""
    picture = io.BytesIO()
    instance.image.save(picture, format="PNG", compress_level=3)
    truth_of = getattr(task, "ground_truth", lambda truth: None)
    return {
        "query": instance.query,
        "image": {"bytes": picture.getvalue(), "path": None},
        "ground_truth": truth_of(instance.truth),
        "response": instance.response if split in ANSWERED else "",
        "task": instance.task,
        "perception": instance.perception,
        "grammar": getattr(task, "grammar", "text"),
        "answer": instance.answer,
        "truth": json.dumps(instance.truth),
    }


def make_data_set(
    task: Task, splits: dict[str, int], out: Path, *, seed: int = 0, workers: int | None = None
) -> Path:
    """Write ``splits`` (name -> rows) to the folder ``out``; returns it.

    ValueError for an unknown split, and for a folder that holds another data set. One that holds
    this very one is left as it is.
    """
    for split in splits:
        check_split(split)
    made_with = {"task": task.describe(), "splits": splits, "seed": seed}
    if _holds(out, made_with):
        return out
    partial = out.with_name(out.name + ".partial")
    if not _holds(partial, made_with):
        make_directory(partial / "data")
        text = json.dumps(made_with)
        write_whole(partial / MADE_WITH, lambda part: part.write_text(text, encoding="utf-8"))
    make_directory(partial / "data")
    pieces = [p for split, n in splits.items() for p in _pieces(task, split, n, seed, partial)]
    _make_all(pieces, workers)
    text = card(task, splits, seed)
    write_whole(partial / "README.md", lambda part: part.write_text(text, encoding="utf-8"))
    os.replace(partial, out)
    return out


def _holds(folder: Path, made_with: dict[str, Any]) -> bool:
    """Whether a folder is this data set. ValueError if it is there and is not."""
    if not folder.exists():
        return False
    found: Any = None
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads((folder / MADE_WITH).read_text(encoding="utf-8"))
    if found != made_with:
        what = f"holds another data set ({found})" if found else "is there already"
        raise ValueError(f"{folder} {what}; choose a new directory")
    return True


def _pieces(task: Task, split: str, n: int, seed: int, folder: Path) -> Iterator[Piece]:
    files = -(-n // ROWS)
    for k in range(files):
        path = folder / "data" / f"{split}-{k:05d}-of-{files:05d}.parquet"
        yield Piece(task, split, seed, k * ROWS, min(ROWS, n - k * ROWS), path)


def _make_all(pieces: list[Piece], workers: int | None) -> None:
    """In ``workers`` processes. The first failure ends it; whole files stay."""
    total = sum(piece.rows for piece in pieces)
    most = min(
        workers or os.cpu_count() or 1, -(-total // ROWS)
    )  # a process takes seconds to start
    with tqdm(total=total, unit="row", desc="making") as bar:
        if most == 1:
            for piece in pieces:
                bar.update(piece.make())
            return
        with ProcessPoolExecutor(most, get_context("spawn")) as pool:
            made = [pool.submit(piece.make) for piece in pieces]
            try:
                for one in as_completed(made):
                    bar.update(one.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def export(folder: Path, split: str, to: str, out: Path) -> Path:
    """A split in the columns of another program (`percbal data convert`)."""
    from percbal.data.convert import convert
    from percbal.data.reading import read_dataset

    data = read_dataset(str(folder), split, completions=None)
    return convert(data, to, split, out, source=str(folder))
