"""Opens what a data set's name stands for: a file, a folder, a saved or a hub's data set."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.data_files import DataFilesDict, _get_data_files_patterns, resolve_pattern
from pyarrow import ArrowException, parquet

from percbal.data.lines import BadRow, json_object, read_lines

TEXT_FILES = (".jsonl", ".json", ".csv")
FILES = (*TEXT_FILES, ".parquet")
NO_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


@dataclass(frozen=True)
class TextFiles:
    """Files of rows as text, read here line by line."""

    paths: list[Path]

    def rows(self) -> Iterator[tuple[str, Path, Any]]:
        """(place, its file, content) of each row; the content may be no row yet, see `as_row`."""
        for path in self.paths:
            if not path.is_file():
                raise ValueError(f"there is no file {path}")
            for place, content in _rows_of(path):
                yield place, path, content


@dataclass(frozen=True)
class Table:
    """Rows that `datasets` holds, and how many of them each file has, where files are known."""

    data: Dataset
    source: str
    files: tuple[tuple[Path, int], ...] = ()

    def place(self, row: int) -> str:
        for path, n_rows in self.files:
            if row < n_rows:
                return f"row {row + 1} of {path}"
            row -= n_rows
        return f"row {row + 1} of {self.source}"


def open_source(source: str, split: str) -> TextFiles | Table:
    """What a name stands for. ValueError, one sentence, for what cannot be opened."""
    path = Path(source)
    if path.suffix in TEXT_FILES:
        return TextFiles([path])
    if path.suffix == ".parquet":
        return _parquet(source, [path])
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return Table(_split_of(_loaded(source, load_from_disk, source), source, split), source)
    files = _files_by_split(path) if path.is_dir() else {}
    if not files:
        return Table(_split_of(_loaded(source, load_dataset, source), source, split), source)
    if split not in files:
        raise ValueError(f"{source} has no split {split!r}, only {', '.join(files)}")
    kinds = sorted({file.suffix for file in files[split]})
    if ".parquet" in kinds and len(kinds) > 1:
        raise ValueError(f"{source} has files of several kinds ({', '.join(kinds)}); name one")
    if kinds == [".parquet"]:
        return _parquet(source, files[split])
    return TextFiles(files[split])


def _files_by_split(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder, which belong to splits by `datasets`' rules for names.

    None where a folder says itself what it holds: a loading configuration, or pictures with their
    metadata. The rules are asked about data files alone: pictures in ``images/val`` are of no
    split.
    """
    if _is_configured(folder / "README.md") or any(folder.glob("**/metadata.*")):
        return {}

    def matching(pattern: str) -> list[str]:
        return [name for name in resolve_pattern(pattern, str(folder)) if _is_data(Path(name))]

    try:
        patterns = _get_data_files_patterns(matching)
        found = DataFilesDict.from_patterns(patterns, base_path=str(folder))
    except (OSError, ValueError):  # none is there
        return {}
    files = {str(split): [*filter(_is_data, map(Path, names))] for split, names in found.items()}
    return {split: sorted(paths) for split, paths in files.items() if paths}


def _is_configured(card: Path) -> bool:
    """Whether a data set's card says at its head which files are of which split."""
    if not card.is_file():
        return False
    _, _, head = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
    return bool(re.search(r"^(configs|dataset_info) *:", head.partition("\n---")[0], re.MULTILINE))


def _is_data(path: Path) -> bool:
    note = path.name in NO_DATA or path.name.endswith(".meta.json")
    return path.suffix in FILES and not note


def _split_of(data: Any, source: str, split: str) -> Dataset:
    if isinstance(data, DatasetDict):
        if split not in data:
            raise ValueError(f"{source} has no split {split!r}, only {', '.join(data)}")
        data = data[split]
    return data


def _parquet(source: str, paths: list[Path]) -> Table:
    counts = []
    for path in paths:
        try:
            with parquet.ParquetFile(path) as file:
                counts.append((path, file.metadata.num_rows))
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}") from None
        except (ArrowException, OSError) as problem:
            raise ValueError(f"{path} is not a Parquet file ({problem})") from None
    names = [str(path) for path in paths]
    data = _loaded(source, load_dataset, "parquet", data_files={"train": names}, split="train")
    return Table(data, source, tuple(counts))


def _loaded(source: str, load: Any, *args: Any, **kwargs: Any) -> Any:
    """A function of `datasets`, whose error of a file that it cannot read is its last cause's."""
    try:
        return load(*args, **kwargs)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        why = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise ValueError(f"{source} cannot be loaded: {why[:300]}") from error


def _rows_of(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".csv":
        yield from _csv_rows(path)
    elif path.suffix == ".json" and _is_array(path):
        yield from _array_rows(path)
    else:
        for line, content in read_lines(path):
            yield f"{path}:{line}", content


def as_row(content: Any) -> dict[str, Any]:
    """The row of a place in a file; BadRow for what is none."""
    if isinstance(content, BadRow):
        raise content
    if isinstance(content, bytes):
        return json_object(content)
    if not isinstance(content, dict):
        raise BadRow(f"not a JSON object but {type(content).__name__}")
    return content


def _is_array(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _array_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path} is not JSON ({problem})") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path} is not JSON (no array)")
    for i, row in enumerate(rows, 1):
        yield f"row {i} of {path}", row


def _csv_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Cells are texts, empty ones null; the first line names the columns."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        try:
            names = next(reader, [])
            if len({*names}) < len(names):
                raise ValueError(f"{path}:1 names a column twice: {', '.join(names)}")
            while True:
                line = reader.line_num + 1
                cells = next(reader, None)
                if cells is None:
                    return
                if not cells:
                    continue
                row: Any = {n: cell or None for n, cell in zip(names, cells, strict=False)}
                if len(cells) != len(names):
                    row = BadRow(f"it has {len(cells)} cells and the first line {len(names)}")
                yield f"{path}:{line}", row
        except UnicodeDecodeError as problem:
            raise ValueError(f"{path} is not UTF-8 ({problem.reason})") from None
        except csv.Error as problem:
            raise ValueError(f"{path}:{reader.line_num}: not CSV ({problem})") from None
