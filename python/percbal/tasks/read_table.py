"""A table of labels and numbers in the words of a model that nobody told how to write one.

Read are JSON objects, markdown tables with two columns, and rows ``label: number`` in lines or with
commas or semicolons between them. Nothing is guessed: what has a number must be a row, and a label
that stands twice must have one value. Time is linear in the text.
"""

from __future__ import annotations

import re

from percbal.responses.json_text import scan
from percbal.responses.reading import Refusal, too_long
from percbal.tasks.read_number import read_number

ROW = re.compile(r"([^:=|]{1,60})[:=|]([^:=|]+)")
SPLIT = re.compile(r"[;\n]|,(?=\s)")
DIGIT = re.compile(r"\d")
AROUND = " \t\r.|`*\"'{}"
BULLET = re.compile(r"(?:[-*•+]|\d{1,3}[.)])\s+")


def read_table(text: str) -> dict[str, float] | Refusal:
    """The numbers by label, in lower case, or why they cannot be told."""
    if refusal := too_long(text):
        return refusal
    pairs = _objects(text) or _rows(text)
    if isinstance(pairs, Refusal):
        return pairs
    table: dict[str, float] = {}
    for label, number in pairs:
        if table.setdefault(label.casefold(), number) != number:
            return Refusal("two_values", f"{label[:20]!r} has two values")
    return table or Refusal("no_table", "there is no row of a label and a number")


def _objects(text: str) -> list[tuple[str, float]] | Refusal:
    """The members of JSON objects."""
    pairs = []
    for value in scan(text).whole if "{" in text else ():
        for label, _, member in value.members:
            number = read_number(member.text(text).strip().strip('"'))
            if number is None:
                return Refusal("row", f"{label[:20]!r} has no number")
            pairs.append((label, number))
    return pairs


def _rows(text: str) -> list[tuple[str, float]] | Refusal:
    pairs = []
    for row in SPLIT.split(text):
        bullet = BULLET.match(row.strip())
        body = row.strip()[bullet.end() if bullet else 0 :].strip(AROUND)
        if not DIGIT.search(body):
            continue
        match = ROW.fullmatch(body)
        number = read_number(match[2].strip()) if match else None
        if match is None or number is None:
            return Refusal("row", f"this is no row of a label and a number: {body[:30]!r}")
        pairs.append((match[1].strip(AROUND), number))
    return pairs
