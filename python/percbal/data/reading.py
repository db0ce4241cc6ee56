"""Reads a data set to train on, as `datasets` does, and says of every fault where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute
from datasets import Dataset, DatasetDict, load_dataset

from percbal.data.images import (
    COLUMNS,
    MAX_PIXELS,
    ImageRules,
    cached_folders,
    open_image,
    with_images,
)
from percbal.data.lines import BadRow, json_object, read_lines
from percbal.data.rows import check_row

TEXTS = ("prompt", "completion", "messages")


def read_dataset(
    source: str,
    split: str,
    *,
    completions: bool = True,
    images_within: str | None = None,
    max_image_pixels: int = MAX_PIXELS,
) -> Dataset:
    """A data set with images, prompt, completion, and every other column that it has.

    source: a ``.jsonl`` or ``.json`` file, with image paths beside it, or what ``load_dataset``
        takes. Texts, and the heads of images that are files, are checked here; the pictures are
        decoded when a row is asked for.
    completions: whether there must be one in every row.
    images_within: the folder that paths of images may not leave; default the data set's own.
    Raises ValueError, one sentence with the row, for what is missing or cannot be read.
    """
    path = Path(source)
    is_file = path.suffix in (".jsonl", ".json")
    base = path.parent if is_file else path
    within = (Path(images_within) if images_within else base,)
    rules = ImageRules(base, within if is_file else within + cached_folders(), max_image_pixels)
    places: list[str] = []
    if is_file:
        places = _check_file(path, completions, rules)
        data = _loaded(source, "json", data_files=str(path), split="train")
    else:
        data = _loaded(source, source)
    if isinstance(data, DatasetDict):
        if split not in data:
            raise ValueError(f"{source} has no split {split!r}, only {', '.join(data)}")
        data = data[split]
    needed = _needed(data.column_names, completions)
    missing = set(needed) - set(data.column_names)
    if missing or not {*COLUMNS} & set(data.column_names):
        raise ValueError(
            f"{source} needs the columns {' and '.join(_texts(completions))} (or messages) and "
            f"images, it has {', '.join(data.column_names)}"
        )
    if not is_file:
        _check_loaded(data, needed, source)
    if needed == ["messages"]:
        # a prompt in parts, as exports have, would force its column's type on the new one
        data = data.remove_columns([n for n in ("prompt",) if n in data.column_names])
        data = data.map(_prompt_and_completion, remove_columns="messages")
    return with_images(data, rules, partial(_place, places, source))


def _place(places: list[str], source: str, row: int) -> str:
    return places[row] if places else f"row {row + 1} of {source}"


def _texts(completions: bool) -> list[str]:
    return ["completion", "prompt"] if completions else ["prompt"]


def _needed(columns: Any, completions: bool) -> list[str]:
    """The columns that hold a row's texts."""
    texts = _texts(completions)
    return ["messages"] if "messages" in columns and not {*texts} <= {*columns} else texts


def _check_file(path: Path, completions: bool, rules: ImageRules) -> list[str]:
    """What to call each row; ValueError for the first that cannot be trained on."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    places = []
    for place, content in _file_rows(path):
        try:
            row = content if isinstance(content, dict) else json_object(content)
            check_row(row, _needed(row, completions))
            for name in COLUMNS:
                for value in row.get(name) or [] if name == "images" else [row.get(name)]:
                    if value is not None:
                        open_image(value, rules, decode=False)
        except ValueError as problem:
            raise ValueError(f"{place}: {problem}") from None
        places.append(place)
    if not places:
        raise ValueError(f"{path} holds no rows")
    return places


def _file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, content) of a file of lines, or of one array."""
    if path.suffix == ".json" and path.read_bytes()[:64].lstrip().startswith(b"["):
        try:
            rows = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as problem:
            raise ValueError(f"{path} is not JSON ({problem})") from None
        for i, row in enumerate(rows, 1):
            yield f"row {i} of {path}", row if isinstance(row, dict) else json.dumps(row).encode()
        return
    for line, content in read_lines(path):
        yield f"{path}:{line}", content


def _check_loaded(data: Dataset, needed: list[str], source: str) -> None:
    """The same of a data set whose pictures may be inside it: they are counted, not read."""
    texts = data.select_columns([name for name in TEXTS if name in data.column_names])
    counts = _image_counts(data)
    if not len(data):
        raise ValueError(f"{source} holds no rows")
    for i, row in enumerate(texts):
        try:
            check_row(row, needed, counts[i])
        except BadRow as problem:
            raise ValueError(f"row {i + 1} of {source}: {problem}") from None


def _image_counts(data: Dataset) -> list[int]:
    counts = [0] * len(data)
    for name in COLUMNS:
        if name in data.column_names:
            column = data.data.column(name)
            one = pyarrow.compute.is_valid(column)
            several = pyarrow.types.is_list(column.type) or pyarrow.types.is_large_list(column.type)
            found = pyarrow.compute.list_value_length(column) if several else one
            counts = [a + int(b or 0) for a, b in zip(counts, found.to_pylist(), strict=True)]
    return counts


def _loaded(source: str, *args: Any, **kwargs: Any) -> Any:
    """``load_dataset``, whose own error of a file that it cannot read is that of its last cause."""
    try:
        return load_dataset(*args, **kwargs)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        unreadable = _unreadable_parquet(Path(source)) if Path(source).is_dir() else None
        why = unreadable or f"{type(cause).__name__}: {str(cause)[:300]}"
        raise ValueError(f"{source} cannot be loaded: {why}") from error


def _unreadable_parquet(folder: Path) -> str | None:
    from pyarrow import ArrowException, parquet

    for path in sorted(folder.rglob("*.parquet")):
        try:
            parquet.ParquetFile(path).close()
        except (ArrowException, OSError) as problem:
            return f"{path} is not a Parquet file ({problem})"
    return None


def _prompt_and_completion(row: dict[str, Any]) -> dict[str, Any]:
    """The last message is what to learn; texts in parts become plain strings."""
    messages = [
        {"role": message["role"], "content": _text(message["content"])}
        for message in row["messages"]
    ]
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
