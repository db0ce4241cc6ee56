"""Reads scored rollouts from JSONL, Parquet and TRL's completions folders, naming every bad row."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from percbal.data.lines import BadRow, filled_lines, json_object, read_blocks
from percbal.evaluate.rollout_tables import Block, groups, json_block, numbers

if TYPE_CHECKING:
    from percbal.evaluate.rollout_scores import RolloutScores

BLOCK = 1 << 24  # bytes of lines at a time


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


Rows = Iterator[tuple[int, Any]]  # (line or row from 1, bytes or dictionary or BadRow)


def read_rollouts(paths: list[Path], columns: Columns) -> RolloutTable:
    """Rows of all files, in order; unusable rows and files are left out and named.

    Raises ValueError where no row is usable, for files given twice, and for an unreadable line
    between rows that are to be counted into groups.
    """
    rollouts = _Rollouts(columns)
    for path in _files(paths):
        for block, rows in _blocks(path, columns.names()):
            if block is None or not rollouts.add_block(path, block):
                rollouts.add_rows(path, rows())
    return rollouts.table(len(paths))


def column_names(paths: list[Path]) -> list[str]:
    """The columns of the first readable row."""
    for path in _files(paths):
        for _, rows in _blocks(path, None):
            for _, row in rows():
                try:
                    return list(_record(row))
                except BadRow:
                    continue
    return []


class _Rollouts:
    """What has been read so far: blocks of rows at once where nothing is odd, else row by row."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.names = [*columns.outcomes, columns.perception]
        self.names += [columns.reasoning] if columns.reasoning else []
        self.values: list[np.ndarray] = []  # (R, C) float64 each
        self.groups: list[np.ndarray] = []  # (R,) int64 each
        self.numbers: dict[str, int] = {}  # group's key -> its number
        self.bad: list[str] = []
        self.counts: dict[Path, int] = {}  # readable rows of each file
        self.broken: dict[Path, str] = {}  # a place in it that is none

    def add_block(self, path: Path, block: Block) -> bool:
        """Whether it was added; else its rows are to be added one by one, and say what is odd."""
        if self.columns.scores is not None or path in self.broken:
            return False
        found = [numbers(block, name) for name in self.names]
        position, n_rows = self.counts.get(path, 0), block.table.num_rows
        if self.columns.group_size is None:
            grouped = groups(block, self.columns.group)
        else:
            nth = np.arange(position, position + n_rows) // self.columns.group_size
            own, code = np.unique(nth, return_inverse=True)
            grouped = code, [f"{path}:{n}" for n in own]
        values = [column for column in found if column is not None]
        if grouped is None or len(values) < len(found):
            return False
        code, keys = grouped
        self.counts[path] = position + n_rows
        self.values.append(np.stack(values, 1))
        self.groups.append(np.array([self._number(key) for key in keys], np.int64)[code])
        return True

    def add_rows(self, path: Path, rows: Rows) -> None:
        """One by one; what is no row is named."""
        values: list[list[float]] = []
        grouped: list[int] = []
        for line, row in rows:
            place = f"{path}:{line}" if line else str(path)
            try:
                key, numbers = self._row(path, place, row)
                values.append(numbers)
                grouped.append(self._number(key))
            except BadRow as problem:
                self.bad.append(f"{place}: {problem}")
        if values:
            self.values.append(np.array(values))
            self.groups.append(np.array(grouped))

    def _row(self, path: Path, place: str, row: Any) -> tuple[str, list[float]]:
        """The key of its group, and its numbers."""
        size, scores = self.columns.group_size, self.columns.scores
        try:
            record = _record(row)
        except BadRow:
            self.broken[path] = place
            raise
        position = self.counts.get(path, 0)
        self.counts[path] = position + 1
        if size is not None and path in self.broken:
            raise ValueError(
                f"{self.broken[path]} cannot be read, so --group-size cannot tell which of the "
                "rows after it share a prompt; mend or remove it, or name the groups by --group"
            )
        key = f"{path}:{position // size}" if size else _group_key(record, self.columns.group)
        if scores is not None:
            record |= scores(record)
        return key, [_number(record, name) for name in self.names]

    def _number(self, key: str) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def table(self, n_files: int) -> RolloutTable:
        if not self.values:
            shown = "".join(f"\n  {row}" for row in self.bad[:5])
            raise ValueError(
                f"no usable rollout in {n_files} files, {len(self.bad)} bad rows{shown}"
            )
        table = torch.from_numpy(np.concatenate(self.values))
        c = len(self.columns.outcomes)
        return RolloutTable(
            outcomes=table[:, :c],
            perception=table[:, c],
            reasoning=table[:, c + 1] if self.columns.reasoning else None,
            group=torch.from_numpy(np.concatenate(self.groups)),
            bad_rows=self.bad,
        )


def _blocks(
    path: Path, wanted: list[str] | None
) -> Iterator[tuple[Block | None, Callable[[], Rows]]]:
    """A file's rows, some at a time: as columns, where nothing is odd, and one by one.

    What cannot be read is a BadRow in its place, with line 0 for a whole file.
    wanted: the columns of a Parquet file to read, those that it has; None: all.
    """
    try:
        if path.suffix == ".parquet":
            yield from _parquet_blocks(path, wanted)
        else:
            for first, lines in read_blocks(path, BLOCK):
                rows = partial(filled_lines, io.BytesIO(lines), first)
                yield None if wanted is None else json_block(lines), rows
    except ValueError as problem:
        why = BadRow(str(problem).removeprefix(f"{path} "))
        yield None, lambda: iter([(0, why)])


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


def _parquet_blocks(
    path: Path, wanted: list[str] | None
) -> Iterator[tuple[Block | None, Callable[[], Rows]]]:
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
                table = pyarrow.Table.from_batches([batch])
                yield Block(table), partial(_dictionaries, table, line + 1)
                line += batch.num_rows
    except (pyarrow.ArrowException, OSError) as problem:
        what = f"cannot be read after row {line}" if line else "is not a Parquet file"
        raise ValueError(f"{what}: {problem}") from None


def _dictionaries(table: Any, first: int) -> Rows:
    return enumerate(table.to_pylist(), first)


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
