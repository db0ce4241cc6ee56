"""Rows of a data set with their segments in colour: on a terminal and as one HTML page."""

from __future__ import annotations

from pathlib import Path

from percbal.data.check import Check, TriedRow
from percbal.report.rendering import render

COLOURS = {"prompt": "2", "perception": "36", "reasoning": "33", "other": "9"}  # of a terminal
FURTHER = "35"  # of segments with other names
LONGEST = 2000  # characters of a prompt that are shown


def coloured(row: TriedRow, *, colour: bool) -> str:
    """The row for a terminal: in colours, or with the name of each segment before it."""
    text = f"--- {row.place}\n"
    for kind, piece in row.pieces:
        shown = _short(kind, _printable(piece))
        text += (
            f"\x1b[{COLOURS.get(kind, FURTHER)}m{shown}\x1b[0m" if colour else f"[{kind}] {shown}\n"
        )
    return text.rstrip("\n")


def _printable(text: str) -> str:
    """Without what a terminal takes for a command."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _short(kind: str, text: str) -> str:
    if kind != "prompt" or len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST // 2]} .. {text[-LONGEST // 2 :]}"


def write_page(check: Check, title: str, path: Path) -> None:
    """The numbers of a check, its failures and the rows that it kept, as one HTML file."""
    text = render(
        "rows.html.j2",
        downloads={},
        title=title,
        summary="\n".join(check.summary()),
        failures=check.failures,
        kinds=list(dict.fromkeys((*COLOURS, *check.segments))),
        known=COLOURS,
        rows=check.shown,
    )
    path.write_text(text, encoding="utf-8")
