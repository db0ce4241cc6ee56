"""Files of one JSON object a line, read so that every fault has a file and a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "compressed"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors begin UTF-8 with it


class BadRow(ValueError):
    """One row cannot be used; the message says why."""


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line from 1, content) of every line that is not blank.

    Raises ValueError, one sentence, for a file that is no UTF-8 text.
    """
    with open(path, "rb") as file:
        _skip_mark(path, file)
        yield from filled_lines(file, 1)


def filled_lines(lines: Iterable[bytes], first: int) -> Iterator[tuple[int, bytes]]:
    """(number, content) of those that are not blank; first: the number of the first."""
    return ((line, content) for line, content in enumerate(lines, first) if content.strip())


def read_blocks(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """(line from 1 that it begins with, content) of blocks of whole lines, of some ``size`` bytes.

    Raises ValueError as `read_lines` does.
    """
    line = 1
    with open(path, "rb") as file:
        _skip_mark(path, file)
        while block := file.read(size):
            block += file.readline()
            yield line, block
            line += block.count(b"\n")


def _skip_mark(path: Path, file: BinaryIO) -> None:
    start = file.read(4096)
    kind = OTHER_ENCODINGS.get(start[:2], "no text" if b"\0" in start else None)
    if kind is not None:
        raise ValueError(f"{path} is {kind}; it must be text in UTF-8, one JSON object a line")
    file.seek(len(BYTE_ORDER_MARK) if start.startswith(BYTE_ORDER_MARK) else 0)


def json_or_text(value: Any) -> Any:
    """What a text says as JSON; itself, where it is none, and what is no text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def json_object(content: bytes) -> dict[str, Any]:
    """The object of one line. BadRow for anything else, and for a key that is there twice."""
    try:
        row = json.loads(content.decode(), object_pairs_hook=_without_repeats)
    except BadRow:
        raise
    except UnicodeDecodeError as problem:
        raise BadRow(f"not UTF-8 ({problem.reason} at byte {problem.start})") from None
    except RecursionError:
        raise BadRow("not JSON (nested too deeply)") from None
    except ValueError as problem:  # syntax, or an integer of more digits than Python reads
        raise BadRow(f"not JSON ({problem})") from None
    if not isinstance(row, dict):
        raise BadRow(f"not a JSON object but {type(row).__name__}")
    return row


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRow(f"the key {twice!r} is there twice")
    return row
