"""What counts as a label, for TRL's rewards and for verl's: a text that is not blank."""

from __future__ import annotations

from typing import Any

MISSING = ("NAType", "NaTType")  # of pandas, which need not be installed


def is_missing(value: Any) -> bool:
    """None, NaN, and pandas' NA and NaT."""
    if value is None or type(value).__name__ in MISSING:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # an array has no one truth
        return False


def label_text(value: Any, where: str) -> str | None:
    """The label as it is, None for a missing one.

    A number is no text: 4 read by pandas in a column with gaps is 4.0, and would equal no answer.
    where: what to call it in an error, such as "answer of row 3".
    Raises ValueError for anything else than text, and for blank text.
    """
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise ValueError(
            f"{where} must be text, got the {type(value).__name__} {str(value)[:40]}; "
            "write the column as strings"
        )
    if not value.strip():
        raise ValueError(f"{where} must not be blank; a missing label is null")
    return value
