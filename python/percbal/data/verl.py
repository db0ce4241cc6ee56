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
    """Of each column; text, its values as JSON, where they are of no one type."""
    types: dict[str, pa.DataType] = {}
    for group in _groups(lines):
        for name in dict.fromkeys(name for row in group for name in row):
            values = [row.get(name) for row in group]
            types[name] = COLUMNS.get(name) or _merged(types.get(name, pa.null()), values)
    texts = (pa.null(), pa.struct({}))  # the latter cannot be written
    return {name: pa.string() if kind in texts else kind for name, kind in types.items()}


def _merged(known: pa.DataType, values: list[Any]) -> pa.DataType:
    try:
        kinds = [pa.schema({"x": kind}) for kind in (known, pa.infer_type(values))]
        return pa.unify_schemas(kinds, promote_options="permissive").field("x").type
    except (pa.ArrowException, OverflowError):
        return pa.string()


def _cells(row: dict[str, Any], schema: pa.Schema, folder: Path) -> dict[str, Any]:
    images = [{"path": path, "bytes": (folder / path).read_bytes()} for path in row["images"]]
    cells = row | {"images": images}
    for name, value in row.items():
        if schema.field(name).type == pa.string() and not isinstance(value, (str, type(None))):
            cells[name] = json.dumps(value)
    return cells
