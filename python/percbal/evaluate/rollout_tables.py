"""Saved rollouts as columns, a block of rows at a time, where nothing about them is odd.

What might be read otherwise than row by row is None here: `rollout_files` then reads it so, and
says what is wrong with which row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

OPENINGS = 200  # of brackets in a line; Arrow ends the process at some 10,000 in one another
ARROW_BLOCK = 1 << 22
# Neither pa.scalar nor to_numpy is used here: they import pandas where it is installed.
NAN = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(np.array([np.nan]))])[0]


@dataclass
class Block:
    """Rows of one file. lines: their bytes, if they are JSON, whose objects may lack a key."""

    table: pa.Table
    lines: bytes | None = None

    def has(self, name: str) -> bool:
        """Whether it is certain that every row has the column, be it null."""
        if name not in self.table.column_names:
            return False
        if self.lines is None or not self.table[name].null_count:
            return True
        if name in (field for kind in self.table.schema.types for field in _fields_in(kind)):
            return False
        if b'\\"%s":' % name.encode() in self.lines:  # the end of another key
            return False
        return self.lines.count(b'"%s":' % name.encode()) == self.table.num_rows


def json_block(lines: bytes) -> Block | None:
    """Whole lines of one JSON object each. None where a line is none, and where Python's reader
    might refuse it or take it otherwise."""
    lines += b"" if lines.endswith(b"\n") else b"\n"
    bytes_ = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(bytes_ == ord("\n"))
    if not _are_objects(bytes_, ends) or _is_deep(lines, bytes_, len(ends)) or b"-NaN" in lines:
        return None
    options = pa.json.ReadOptions(block_size=ARROW_BLOCK)
    try:
        lines.isascii() or lines.decode()  # Arrow does not look
        table = pa.json.read_json(pa.BufferReader(lines), read_options=options)
    except (ValueError, pa.ArrowException):  # or text that is not UTF-8
        return None
    if table.num_rows != len(ends):  # some line has two
        return None
    if any(_is_infinite(column) for column in table.columns):
        return None
    return Block(table, lines)


def numbers(block: Block, name: str) -> np.ndarray | None:
    """(R,) float64 of a column, NaN where it is null. None unless all others are finite."""
    if not block.has(name):
        return None
    column = block.table[name]
    kind = column.type
    known = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    if not any(is_kind(kind) for is_kind in known):
        return None
    values = _numpy(column.cast(pa.float64(), safe=False).fill_null(NAN).combine_chunks())
    return None if np.isinf(values).any() else values


def groups(block: Block, columns: list[str] | None) -> tuple[np.ndarray, list[str]] | None:
    """(R,) number of each row's group in order of appearance, and the groups' keys.

    columns: which name them; None: "group", else those of "step" and "prompt" that are there.
    """
    names = block.table.column_names
    if columns is None:
        columns = ["group"] if "group" in names else [c for c in ("step", "prompt") if c in names]
    if not columns or not all(block.has(name) for name in columns):
        return None
    coded = []
    for name in columns:
        found = _coded(block.table[name], is_json=block.lines is not None)
        if found is None:
            return None
        coded.append(found)
    code, keys = coded[0]
    for own, texts in coded[1:]:
        both, first, code = np.unique(code.astype(np.int64) * len(texts) + own, True, True)
        order = np.argsort(first)  # by appearance
        code = np.argsort(order)[code]
        pairs = (divmod(int(pair), len(texts)) for pair in both[order])
        keys = [f"{keys[i]}, {texts[j]}" for i, j in pairs]
    return code, [f"[{key}]" for key in keys]


def _numpy(array: pa.Array) -> np.ndarray:
    """Of numbers without nulls."""
    return np.from_dlpack(array)


def _coded(column: pa.ChunkedArray, *, is_json: bool) -> tuple[np.ndarray, list[str]] | None:
    """(R,) number of each value in order of appearance, and the values as JSON."""
    kind = column.type
    simple = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null)
    if any(is_kind(kind) for is_kind in simple):
        coded = column.combine_chunks().dictionary_encode("encode")
        return _numpy(coded.indices), [json.dumps(v) for v in coded.dictionary.to_pylist()]
    if is_json:  # 1 and 1.0, and a date and its text, are two keys there
        return None
    seen: dict[str, int] = {}
    texts = (json.dumps(v, sort_keys=True, default=str) for v in column.to_pylist())
    return np.array([seen.setdefault(text, len(seen)) for text in texts], np.int64), list(seen)


def _are_objects(bytes_: np.ndarray, ends: np.ndarray) -> bool:
    """Whether each line begins and ends with a brace, so that Arrow takes none with the next:
    within an object, nothing that is closed is followed by what is opened."""
    begin = np.concatenate([[0], ends[:-1] + 1])
    last = ends - 1 - (bytes_[ends - 1] == ord("\r"))
    return bool((bytes_[begin] == ord("{")).all() and (bytes_[last] == ord("}")).all())


def _is_deep(lines: bytes, bytes_: np.ndarray, n_lines: int) -> bool:
    """Whether objects or lists may stand in one another very deep."""
    opened = sum(np.count_nonzero(bytes_ == ord(bracket)) for bracket in "{[")
    if opened - n_lines <= OPENINGS:
        return False
    return any(line.count(b"{") + line.count(b"[") > OPENINGS for line in lines.split(b"\n"))


def _is_infinite(column: Any) -> bool:
    """Whether a number of it is, at any depth: Arrow reads `Inf` and numbers of 5,000 digits so."""
    kind = column.type
    if pa.types.is_floating(kind):
        return bool(pc.any(pc.is_inf(column)).as_py())
    if pa.types.is_struct(kind):
        return any(_is_infinite(part) for part in column.flatten())
    return pa.types.is_list(kind) and _is_infinite(pc.list_flatten(column))


def _fields_in(kind: Any) -> Iterator[str]:
    """Names of the objects' keys within a value."""
    for i in range(kind.num_fields):
        if pa.types.is_struct(kind):
            yield kind.field(i).name
        yield from _fields_in(kind.field(i).type)
