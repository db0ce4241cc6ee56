"""JSON files that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from percbal.tasks.files import write_whole


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all: a reader, or a later run, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_text(json.dumps(value)))


def read_json(path: Path) -> Any:
    """None if it is not there. ValueError that names it if it is damaged."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as problem:
        raise ValueError(f"{path} is no JSON: {problem}") from None
