"""The columns that say what of a response is what, as lists of entries, however a file has them."""

from __future__ import annotations

from typing import Any

from percbal.data.lines import BadRow, json_or_text

KEYS: dict[str, dict[str, type]] = {
    "segments": {"type": str, "text": str},
    "spans": {"type": str, "start": int, "end": int},
}


def read_marks(name: str, value: Any) -> list[dict[str, Any]] | None:
    """The entries of a column of `KEYS`; None where there is none.

    value: a list of entries, the same as JSON (a cell of a CSV file), or a list of each key (a
        ``Sequence`` of `datasets`).
    BadRow, which names the column and the entry, for anything else.
    """
    keys = KEYS[name]
    if value is None or value == "":
        return None
    found = json_or_text(value)
    if isinstance(found, dict):
        found = _by_entry(found, keys)
    if not isinstance(found, list):
        raise BadRow(f"{name} must be a list of {_shape(keys)}, it is {value!r:.60}")
    for number, entry in enumerate(found):
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(key), kind) and not isinstance(entry[key], bool)
            for key, kind in keys.items()
        ):
            raise BadRow(f"entry {number} of {name} must be {_shape(keys)}, it is {entry!r:.60}")
    return found


def _by_entry(columns: dict[str, Any], keys: dict[str, type]) -> Any:
    """A list of each key as a list of entries; unchanged where it is none."""
    lists = [values for key in keys if isinstance(values := columns.get(key), list)]
    if len(lists) < len(keys) or len({*map(len, lists)}) > 1:
        return columns
    return [dict(zip(keys, entry, strict=True)) for entry in zip(*lists, strict=True)]


def _shape(keys: dict[str, type]) -> str:
    names = {str: "a text", int: "a whole number"}
    return "{" + ", ".join(f'"{key}": {names[kind]}' for key, kind in keys.items()) + "}"
