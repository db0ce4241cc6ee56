"""Reads a data set into the one type of row, and says of every fault where it is.

A row has ``prompt`` and, where there is one, ``completion`` (messages), ``images`` (a list, perhaps
empty), ``source_row`` (its file and row) and every other column of the data set.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as compute
from datasets import Dataset, concatenate_datasets
from tqdm.auto import tqdm

from percbal.data.files import FILES, Table, TextFiles, as_row, open_source
from percbal.data.forms import IMAGES, READ, read_row
from percbal.data.images import (
    MAX_PIXELS,
    ImageRules,
    OpenRows,
    cached_folders,
    image_cell,
    open_image,
    undecoded,
)
from percbal.data.rows import PLACE
from percbal.data.table import IN_MESSAGES, coded, decoded, write_rows

log = logging.getLogger(__name__)

BAD_ROWS = ("stop", "skip")
SHOWN = 5  # skipped rows that the log names
LONGEST = 1000  # characters of why a row is bad
SOON = 5  # seconds of reading before a progress bar appears
LIKE_PICTURES = re.compile(r"image|img|pic|photo|screenshot|pixel", re.IGNORECASE)
LABELS = ("perception", "grammar", "truth")  # that follow from the paper's ground truth

Cells = dict[str, Any]
Place = tuple[str, Callable[..., Cells]]  # of a row, and what makes its cells


@dataclass
class BadRows:
    """Rows that cannot be used, in their order: (place, why)."""

    policy: str
    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, place: str, problem: ValueError) -> None:
        why = str(problem)
        why = why if len(why) <= LONGEST else why[:LONGEST] + ".."
        if self.policy == "stop":
            raise ValueError(f"{place}: {why}") from None
        self.found.append((place, why))


def read_dataset(
    source: str | Dataset,
    split: str = "train",
    *,
    completions: bool | None = True,
    images_within: str | None = None,
    max_image_pixels: int = MAX_PIXELS,
    on_bad_row: str = "stop",
) -> Dataset:
    """A data set with prompt, completion, images, and every other column that it has.

    source: a file (.jsonl, .json, .csv, .parquet), a folder of them, a folder of
        ``Dataset.save_to_disk``, the name of a data set on the hub, or a data set. Texts, and the
        heads of images that are files, are checked here; pictures are decoded when a row is asked
        for.
    completions: whether there must be one in every row; None to take it where there is one.
    images_within: the folder that paths of images may not leave; default the data set's own.
    on_bad_row: "stop" raises for the first row that cannot be used; "skip" leaves such rows out,
        says so in the log, and raises where none is left.
    Raises ValueError, one sentence with the row, for what is missing or cannot be read.
    """
    bad = collect_bad(on_bad_row)
    data = read_rows(
        source,
        split,
        bad,
        completions=completions,
        images_within=images_within,
        max_image_pixels=max_image_pixels,
    )
    if not len(data):
        place, why = bad.found[0]
        name = source if isinstance(source, str) else "the data set"
        raise ValueError(f"{name} holds no rows but {len(bad.found)} bad ones: {place}: {why}")
    if bad.found:
        first = "; ".join(f"{place}: {why}" for place, why in bad.found[:SHOWN])
        log.warning(
            "%d of %d rows of %s are skipped: %s%s",
            *(len(bad.found), len(bad.found) + len(data), source, first),
            " .." if len(bad.found) > SHOWN else "",
        )
    return data


def collect_bad(on_bad_row: str) -> BadRows:
    if on_bad_row not in BAD_ROWS:
        raise ValueError(f"on_bad_row must be one of {BAD_ROWS}, got {on_bad_row!r}")
    return BadRows(on_bad_row)


def read_rows(
    source: str | Dataset,
    split: str,
    bad: BadRows,
    *,
    completions: bool | None,
    images_within: str | None,
    max_image_pixels: int,
) -> Dataset:
    """`read_dataset`, with the rows that were left out in ``bad``; they may be all."""
    path = Path(source) if isinstance(source, str) else Path()
    found = open_source(source, split) if isinstance(source, str) else Table(source, "the data set")
    base = path.parent if path.suffix in FILES else path
    unpacked = () if isinstance(found, TextFiles) else cached_folders()
    within = (Path(images_within) if images_within else base, *unpacked)
    rules = ImageRules(base, within, max_image_pixels)
    read = _read_files if isinstance(found, TextFiles) else _read_table
    data = read(found, bad, rules, completions)  # type: ignore[arg-type]
    name = source if isinstance(source, str) else "the data set"
    if not len(data) and not bad.found:
        raise ValueError(f"{name} holds no rows")
    if len(data):
        _warn_without_pictures(data, name)
    return data.with_transform(OpenRows(rules))


def _read_files(
    found: TextFiles, bad: BadRows, rules: ImageRules, completions: bool | None
) -> Dataset:
    def rows() -> Iterator[Place]:
        for place, path, content in found.rows():
            yield place, partial(cells_of, place, rules.beside(path), content)

    def cells_of(place: str, here: ImageRules, content: Any, *, check: bool) -> Cells:
        cells = _cells(read_row(as_row(content), completions=completions), place)
        for image in cells["images"]:
            if check:
                open_image(image, here, decode=False)
            if here != rules:
                image["path"] = here.whole(image["path"])
        return cells

    made, good = _written(rows, bad)
    return made if len(good) == len(made) else made.select(good)


def _read_table(found: Table, bad: BadRows, rules: ImageRules, completions: bool | None) -> Dataset:
    """Texts are read and written anew; pictures and other columns stay where they are."""
    data = undecoded(found.data.with_format(None))
    names = {*READ, *(LABELS if "query" in data.column_names else ())}
    names |= {*IMAGES} if _are_paths(data) else {*()}
    texts = data.select_columns([name for name in data.column_names if name in names])
    rest = data.remove_columns(texts.column_names)
    if "image" in rest.column_names and "images" not in rest.column_names:
        rest = rest.rename_column("image", "images")
    counts = _image_counts(rest)

    def rows() -> Iterator[Place]:
        # a data set without texts has as many rows as its rest
        for i, row in enumerate(texts if texts.column_names else [{}] * len(data)):
            yield found.place(i), partial(cells_of, i, row)

    def cells_of(i: int, row: Any, *, check: bool) -> Cells:
        row = {name: decoded(cell) for name, cell in row.items()}
        made = read_row(row, completions=completions, n_images=counts[i] if counts else 0)
        cells = _cells(made, found.place(i))
        for image in cells["images"] if check else ():
            open_image(image, rules, decode=False)
        if "images" in rest.column_names and (own := cells.pop("images")):
            cells[IN_MESSAGES] = own
        return cells

    made, good = _written(rows, bad)
    kept = [name for name in rest.column_names if name not in made.column_names]
    whole = concatenate_datasets([made, rest.select_columns(kept)], axis=1) if kept else made
    return whole if len(good) == len(data) else whole.select(good)


def _written(rows: Callable[[], Iterator[Place]], bad: BadRows) -> tuple[Dataset, list[int]]:
    """All rows, and the numbers of the good ones; bad ones are written empty.

    Rows are read twice: which columns there are, and which rows are bad, then their cells.
    """
    columns: dict[str, None] = {}
    good = []
    looked = tqdm(rows(), desc="reading", unit="row", delay=SOON)
    for i, (place, cells_of) in enumerate(looked):
        try:
            columns |= dict.fromkeys(cells_of(check=True))
        except ValueError as problem:
            bad.add(place, problem)
        else:
            good.append(i)
    wanted = {*good}
    cells = (cells_of(check=False) if i in wanted else {} for i, (_, cells_of) in enumerate(rows()))
    return write_rows(cells, columns or [PLACE]), good


def _cells(row: dict[str, Any], place: str) -> Cells:
    images = [image_cell(value) for value in row.pop("images")]
    return {name: coded(value) for name, value in row.items()} | {"images": images, PLACE: place}


def _are_paths(data: Dataset) -> bool:
    """Whether the columns of images have texts alone, so that reading them is cheap."""
    kinds = [data.data.schema.field(name).type for name in IMAGES if name in data.column_names]
    kinds = [kind.value_type if _is_list(kind) else kind for kind in kinds]
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return all(any(is_text(kind) for is_text in texts) for kind in kinds)


def _is_list(kind: pa.DataType) -> bool:
    fixed = pa.types.is_fixed_size_list(kind)
    return fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _image_counts(data: Dataset, names: Sequence[str] = IMAGES) -> list[int] | None:
    """Of each row, where its pictures may be inside the table: they are counted, not read."""
    counts: list[int] | None = None
    for name in names:
        if name in data.column_names:
            column = data.data.column(name)
            count = compute.list_value_length if _is_list(column.type) else compute.is_valid
            found = count(column)
            if data._indices is not None:  # rows that were selected, shuffled or filtered
                found = found.take(data._indices.column(0))
            own = [int(n or 0) for n in found.to_pylist()]
            counts = own if counts is None else [b or a for a, b in zip(counts, own, strict=True)]
    return counts


def _warn_without_pictures(data: Dataset, source: str) -> None:
    """Of a data set of text alone: its pictures may be in a column that is not read."""
    if any(_image_counts(data, (*IMAGES, IN_MESSAGES)) or ()):
        return
    others = [name for name in data.column_names if LIKE_PICTURES.search(name)]
    others = [name for name in others if name not in (*IMAGES, IN_MESSAGES)]
    hint = f"; {', '.join(others)} is not read, rename it image or images" if others else ""
    log.warning("no row of %s has a picture (in a column image or images)%s", source, hint)
