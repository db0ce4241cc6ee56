"""Reads scored rollouts from JSONL, Parquet and TRL's completions folders, naming every bad row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from percbal.data.lines import BadRow, json_object, read_lines
from percbal.evaluate.rollout_scores import RolloutScores


@dataclass
class Columns:
    """Which columns to read. ``group``: those that together name a prompt's group of rollouts.

    scores: makes some of them from others, the texts of the rollouts and their labels.
    """

    outcomes: list[str]
    perception: str
    reasoning: str | None
    group: list[str] | None  # None: "group", else those of "step" and "prompt" that are there
    group_size: int | None = None  # instead: so many rows in a row, counted in each file
    scores: RolloutScores | None = None

    def names(self) -> list[str]:
        """Every column that may be read."""
        values = [*self.outcomes, self.perception, *([self.reasoning] if self.reasoning else [])]
        values += self.scores.columns if self.scores is not None else ()
        by_rows = self.group_size is not None
        return values + ([] if by_rows else self.group or ["group", "step", "prompt"])


@dataclass
class RolloutTable:
    outcomes: Tensor  # (R, C) float64, NaN = not scored
    perception: Tensor  # (R,) float64
    reasoning: Tensor | None  # (R,) float64
    group: Tensor  # (R,) int64
    bad_rows: list[str] = field(default_factory=list)  # "file:line: what is wrong"


def read_rollouts(paths: list[Path], columns: Columns) -> RolloutTable:
    """Rows of all files, in order; unusable rows and files are left out and named.

    Raises ValueError where no row is usable, for files given twice, and for an unreadable line
    between rows that are to be counted into groups.
    """
    values: list[list[float]] = []
    groups: list[int] = []
    numbers: dict[str, int] = {}
    bad: list[str] = []
    names = [*columns.outcomes, columns.perception]
    names += [columns.reasoning] if columns.reasoning else []
    counts: dict[Path, int] = {}  # readable rows of each file
    broken: dict[Path, str] = {}  # a place in it that is none
    for path, line, row in _rows(paths, columns.names()):
        place = f"{path}:{line}" if line else str(path)
        try:
            record = _record(row)
        except BadRow as problem:
            broken[path] = place
            bad.append(f"{place}: {problem}")
            continue
        position = counts.get(path, 0)
        counts[path] = position + 1
        if columns.group_size is not None and path in broken:
            raise ValueError(
                f"{broken[path]} cannot be read, so --group-size cannot tell which of the rows "
                "after it share a prompt; mend or remove it, or name the groups by --group"
            )
        try:
            if columns.group_size is None:
                key = _group_key(record, columns.group)
            else:
                key = f"{path}:{position // columns.group_size}"
            if columns.scores is not None:
                record |= columns.scores(record)
            values.append([_number(record, name) for name in names])
            groups.append(numbers.setdefault(key, len(numbers)))
        except BadRow as problem:
            bad.append(f"{place}: {problem}")
    if not values:
        shown = "".join(f"\n  {row}" for row in bad[:5])
        raise ValueError(f"no usable rollout in {len(paths)} files, {len(bad)} bad rows{shown}")
    table = torch.tensor(values, dtype=torch.float64)
    c = len(columns.outcomes)
    return RolloutTable(
        outcomes=table[:, :c],
        perception=table[:, c],
        reasoning=table[:, c + 1] if columns.reasoning else None,
        group=torch.tensor(groups),
        bad_rows=bad,
    )


def column_names(paths: list[Path]) -> list[str]:
    """The columns of the first readable row."""
    for _, _, row in _rows(paths, None):
        try:
            return list(_record(row))
        except BadRow:
            continue
    return []


def _rows(paths: list[Path], wanted: list[str] | None) -> Iterator[tuple[Path, int, Any]]:
    """(file, line or row from 1, bytes or dictionary) of every row; blank lines are no rows.

    What cannot be read is a BadRow in its place, with line 0 for a whole file.
    wanted: the columns of a Parquet file to read, those that it has; None: all.
    """
    for path in _files(paths):
        try:
            if path.suffix == ".parquet":
                yield from _parquet_rows(path, wanted)
            else:
                yield from ((path, line, content) for line, content in read_lines(path))
        except ValueError as problem:
            why = str(problem).removeprefix(f"{path} ")
            yield path, 0, BadRow(why)


def _files(paths: list[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in _named_files(paths):
        if path.resolve() in seen:
            raise ValueError(f"{path} is given twice")
        seen.add(path.resolve())
        yield path


def _named_files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob("completions_*.parquet"))
            found = found or sorted(path.glob("completions/completions_*.parquet"))
            if not found:
                raise ValueError(f"{path} holds no completions_*.parquet as TRL writes them")
            yield from found
        elif not path.is_file():
            raise ValueError(f"there is no file {path}")
        elif path.suffix not in (".jsonl", ".parquet"):
            raise ValueError(f"{path} must end in .jsonl or .parquet, or be a folder")
        else:
            yield path


def _parquet_rows(path: Path, wanted: list[str] | None) -> Iterator[tuple[Path, int, Any]]:
    """Raises ValueError where the file cannot be read, or not to its end."""
    import pyarrow.parquet

    line = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            twice = [name for name in present if present.count(name) > 1]
            if twice:
                raise ValueError(f"has two columns {twice[0]!r}")
            # completions and images may be large, and nothing here looks at them
            names = present if wanted is None else [name for name in present if name in wanted]
            for batch in file.iter_batches(columns=names):
                for row in batch.to_pylist():
                    line += 1
                    yield path, line, row
    except (pyarrow.ArrowException, OSError) as problem:
        what = f"cannot be read after row {line}" if line else "is not a Parquet file"
        raise ValueError(f"{what}: {problem}") from None


def _record(row: Any) -> dict[str, Any]:
    if isinstance(row, BadRow):
        raise row
    return json_object(row) if isinstance(row, bytes) else row


def _number(record: dict[str, Any], name: str) -> float:
    if name not in record:
        raise BadRow(f"no column {name!r}")
    value = record[name]
    if value is None:
        return math.nan
    if not isinstance(value, (bool, int, float)):
        raise BadRow(f"{name} must be a number, got {str(value)[:40]!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise BadRow(f"{name} must be finite, got {str(value)[:40]}")
    return number


def _group_key(record: dict[str, Any], columns: list[str] | None) -> str:
    if columns is None:
        default: list[str] = [c for c in ("step", "prompt") if c in record]
        columns = ["group"] if "group" in record else default
        if not columns:
            raise BadRow("no column 'group', 'step' or 'prompt' says which rollouts share a prompt")
    for name in columns:
        if name not in record:
            raise BadRow(f"no column {name!r}")
    return json.dumps([record[name] for name in columns], sort_keys=True, default=str)
