"""verl's Parquet files: ``data_source, prompt, images, reward_model, extra_info`` and the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from percbal.data.lines import json_object, read_lines
from percbal.data.rows import PLACE
from percbal.data.table import IMAGE

GROUP = 64  # rows whose pictures are in memory at once
TURNS = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
Place = tuple[str, ...]  # a column, or a column and a key of its structs
STRUCTS = ("reward_model", "extra_info")  # verl reads their keys
COLUMNS = {
    "prompt": TURNS,
    "completion": TURNS,
    "images": pa.list_(IMAGE),
}


def verl_row(
    row: Mapping[str, Any],
    turns: list[dict[str, str]],
    files: Sequence[str],
    completion: list[dict[str, Any]],
) -> dict[str, Any]:
    """A row as verl has it; the truth is what `percbal.adapters.verl.compute_score` reads."""
    truth = {name: row[name] for name in ("perception", "answer") if row.get(name) is not None}
    model = {"style": "rule", "ground_truth": json.dumps(truth) if truth else ""}
    return {
        "data_source": row.get("data_source") or row.get("task") or "percbal",
        "prompt": turns,
        "completion": [{"role": m["role"], "content": m["content"]} for m in completion] or None,
        "images": files,
        "reward_model": row.get("reward_model") or model,
        "extra_info": row.get("extra_info") or {PLACE: row.get(PLACE)},
    }


def write_parquet(lines: Path, target: Path) -> None:
    """The lines as one Parquet file, with the files of their images inside, as verl reads them."""
    schema = pa.schema(_types(lines))
    part = target.with_name(target.name + ".part")
    try:
        with parquet.ParquetWriter(part, schema) as writer:
            for group in _groups(lines):
                cells = [_cells(row, schema, lines.parent) for row in group]
                writer.write_table(pa.Table.from_pylist(cells, schema))
    except pa.ArrowException as problem:
        raise ValueError(f"{target} cannot be written: {problem}") from None
    os.replace(part, target)


def _groups(lines: Path) -> Iterator[list[dict[str, Any]]]:
    rows = (json_object(content) for _, content in read_lines(lines))
    while group := list(islice(rows, GROUP)):
        yield group


def _types(lines: Path) -> dict[str, pa.DataType]:
    """Of each column; text, its values as JSON, where they are of no one type.

    A struct fills the keys that a value lacks with null, so values are structs only if all have
    the same keys. Columns that verl wants as structs have any keys; this holds of what is in them.
    """
    types: dict[Place, pa.DataType] = {}
    for path, values in _values(lines):
        types[path] = _merged(types.get(path, pa.null()), values)
    for path, values in _values(lines):
        if not _holds(types[path], values):
            types[path] = pa.string()
    types = {path: pa.string() if kind == pa.null() else kind for path, kind in types.items()}
    made: dict[str, pa.DataType] = {}
    for name in dict.fromkeys(path[0] for path in types):
        fields = {path[1]: kind for path, kind in types.items() if path[0] == name and path[1:]}
        made[name] = COLUMNS.get(name) or types.get((name,)) or pa.struct(fields)
    return made


def _values(lines: Path) -> Iterator[tuple[Place, list[Any]]]:
    """Column, or column and key of a struct, with its values in a group of rows."""
    mixed = {
        name
        for group in _groups(lines)
        for row in group
        for name in STRUCTS
        if not (isinstance(row.get(name), dict) and row[name])
    }
    for group in _groups(lines):
        for name in dict.fromkeys(name for row in group for name in row):
            values: list[Any] = [row.get(name) for row in group]
            if name in STRUCTS and name not in mixed:
                structs: list[dict[str, Any]] = values
                for key in dict.fromkeys(key for struct in structs for key in struct):
                    yield (name, key), [struct.get(key) for struct in structs]
            else:
                yield (name,), values


def _merged(known: pa.DataType, values: list[Any]) -> pa.DataType:
    try:
        kinds = [pa.schema({"x": kind}) for kind in (known, pa.infer_type(values))]
        return pa.unify_schemas(kinds, promote_options="permissive").field("x").type
    except (pa.ArrowException, OverflowError):
        return pa.string()


def _holds(kind: pa.DataType, values: list[Any]) -> bool:
    """Whether a column of this type gives the values back, but for whole numbers as floats."""
    if kind == pa.string():
        return True
    if _has_empty_struct(kind):  # which Parquet cannot write
        return False
    try:
        array = pa.array(values, kind)
        return pa.types.is_floating(kind) or array.to_pylist() == values
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return False


def _has_empty_struct(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _has_empty_struct(kind.value_type)
    fields = [field.type for field in kind] if pa.types.is_struct(kind) else None
    return fields is not None and (not fields or any(map(_has_empty_struct, fields)))


def _cells(row: dict[str, Any], schema: pa.Schema, folder: Path) -> dict[str, Any]:
    images = [{"path": path, "bytes": (folder / path).read_bytes()} for path in row["images"]]
    made = {name: _cell(value, schema.field(name).type, name) for name, value in row.items()}
    return made | {"images": images}


def _cell(value: Any, kind: pa.DataType, name: str = "") -> Any:
    if kind == pa.string() and not isinstance(value, (str, type(None))):
        return json.dumps(value)
    if name in STRUCTS and isinstance(value, dict) and pa.types.is_struct(kind):
        return {key: _cell(inner, kind.field(key).type) for key, inner in value.items()}
    return value
