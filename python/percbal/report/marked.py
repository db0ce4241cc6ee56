"""Parts of a page that are made, between two marks, while the rest is written by hand."""

from __future__ import annotations

from pathlib import Path


def marked(page: Path, name: str) -> str:
    """What stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.

    ValueError unless the page has both marks, once each and in this order.
    """
    return _parts(page, name)[1]


def write_marked(page: Path, name: str, text: str) -> None:
    """Put ``text`` between the marks, in place of what is there; ValueError as ``marked``, and the
    page stays as it is: without one mark it is not known what may go."""
    before, _, after = _parts(page, name)
    page.write_text(before + text + after)


def _parts(page: Path, name: str) -> tuple[str, str, str]:
    """With the marks in the outer ones."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    whole = page.read_text()
    start, stop = whole.find(begin) + len(begin), whole.find(end)
    if whole.count(begin) != 1 or whole.count(end) != 1 or stop < start:
        raise ValueError(
            f"{page} must have the lines {begin.strip()} and {end} once each, in this order: what "
            "stands between them is made anew"
        )
    return whole[:start], whole[start:stop], whole[stop:]
