"""Rows of a data set with their segments in colour: on a terminal and as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from percbal.data.check import Check, TriedRow

COLOURS = {"prompt": "2", "perception": "36", "reasoning": "33", "other": "9"}  # of a terminal
FURTHER = "35"  # of segments with other names
LONGEST = 2000  # characters of a prompt that are shown

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}
pre{background:#f6f6f6;padding:.8em;overflow-x:auto}
.row{white-space:pre-wrap;border-bottom:1px solid #ddd;padding:1em 0}
.prompt{color:#777} .perception{background:#cdeef5} .reasoning{background:#fcefc7}
[title]{background:#e3d7f4}
.other{text-decoration:line-through;color:#777} table{border-collapse:collapse}
td{border-bottom:1px solid #eee;padding:.2em .8em;vertical-align:top}
"""


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
    legend = " ".join(_span(kind, kind) for kind in dict.fromkeys((*COLOURS, *check.segments)))
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<pre>{html.escape(chr(10).join(check.summary()))}</pre>",
    ]
    if check.failed:
        body += ["<h2>Rows that cannot be used</h2>", _table(check.failures)]
    body += [f"<h2>Rows</h2><p>{legend}</p>", *map(_row, check.shown)]
    page = "\n".join(body)
    path.write_text(
        f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style>\n{page}\n",
        encoding="utf-8",
    )


def _table(failures: Sequence[tuple[str, str]]) -> str:
    rows = (f"<tr><td>{html.escape(a)}<td>{html.escape(b)}" for a, b in failures)
    return f"<table>{''.join(rows)}</table>"


def _span(kind: str, text: str) -> str:
    """A segment's text; one of another name shows it under the pointer."""
    named = f"class={kind}" if kind in COLOURS else f"title={kind}"
    return f"<span {named}>{html.escape(text)}</span>"


def _row(row: TriedRow) -> str:
    pieces = (_span(kind, text) for kind, text in row.pieces)
    sizes = ", ".join(f"{width} x {height}" for width, height in row.images)
    head = f"<b>{html.escape(row.place)}</b> {row.tokens} tokens; images: {sizes or 'none'}"
    return f"<div class=row>{head}\n{''.join(pieces)}</div>"
