"""Rows written to a file of Arrow's, so that `datasets` maps it and no row need be in memory.

Only texts are columns of their own type. Everything else, messages among it, is stored as JSON
behind a mark, and comes back as it was: a column of Arrow's has one type, and fills what a row
lacks with null, which a chat template may take for content.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import pyarrow as pa
from datasets import Dataset

from percbal.data.lines import BadRow

JSON = "\x00json:"  # begins a text that stands for another value
IMAGE = pa.struct({"path": pa.string(), "bytes": pa.binary()})
IN_MESSAGES = "images_in_messages"  # beside a column of pictures that stays where it is
IMAGE_COLUMNS = ("images", IN_MESSAGES)
CHUNK = 1000  # rows that are in memory at once


def coded(value: Any) -> str | None:
    """A value as a cell. BadRow for one that is no JSON or no Unicode."""
    if value is None or (isinstance(value, str) and not value.startswith(JSON)):
        cell = value
    else:
        try:
            cell = JSON + json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as problem:
            raise BadRow(f"a value cannot be written as JSON ({problem})") from None
    try:
        (cell or "").encode()
    except UnicodeEncodeError:
        raise BadRow("a text has half a character (a lone surrogate), which is no UTF-8") from None
    return cell


def decoded(cell: Any) -> Any:
    """The value of a cell; anything that `coded` did not make stays."""
    if isinstance(cell, str) and cell.startswith(JSON):
        return json.loads(cell[len(JSON) :])
    return cell


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> Dataset:
    """A data set of these rows, mapped from a file that is gone when the process ends.

    rows: column -> cell, missing ones null; images a list of ``{"path", "bytes"}``.
    """
    schema = pa.schema(
        {name: pa.list_(IMAGE) if name in IMAGE_COLUMNS else pa.string() for name in columns}
    )
    with tempfile.NamedTemporaryFile(dir=_folder(), suffix=".arrow", delete=False) as file:
        with pa.ipc.new_stream(file, schema) as writer:
            for chunk in _chunks(rows):
                writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema))
    return Dataset.from_file(file.name)


def _chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    yield chunk


@cache
def _folder() -> str:
    folder = tempfile.TemporaryDirectory(prefix="percbal-")
    _kept.append(folder)
    return folder.name


_kept: list[Any] = []  # removed with the interpreter
