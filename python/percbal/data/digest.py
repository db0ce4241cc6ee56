"""A digest of the rows of a data set: whether what was made of them is still of these."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm

from percbal.data.forms import as_list
from percbal.data.images import COLUMNS, BadImage, ImageRules, OpenRows, image_cell
from percbal.data.rows import PLACE

SOON = 5  # seconds before a progress bar appears


def digest(data: Dataset) -> str:
    """Of every column and of the content of every picture, but for where a row or picture lies.

    data: of `read_dataset`. By content, since files that are copied or written again are the same.
    BadImage for a picture whose file cannot be read.
    """
    opens: OpenRows = data.format["format_kwargs"]["transform"]
    found = hashlib.sha256()
    rows = data.with_format(None)
    for row in tqdm(rows, desc="reading", unit="row", delay=SOON):
        place = row.pop(PLACE, "a row")
        for name in COLUMNS:
            if name in row:
                row[name] = [_picture(value, opens.rules, place) for value in as_list(row[name])]
        found.update(json.dumps(row, sort_keys=True, default=_written).encode())
    return found.hexdigest()


def _picture(value: Any, rules: ImageRules, place: str) -> str:
    cell = image_cell(value)
    content = cell["bytes"]
    try:
        if content is None:
            content = rules.file(cell["path"]).read_bytes()
    except (BadImage, OSError) as problem:
        raise BadImage(f"{place}: {problem}") from None
    return hashlib.sha256(content).hexdigest()


def _written(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
