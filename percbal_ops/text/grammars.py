"""The grammars of `score_text` in plain Python; docs/coupling.md describes them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# what is matched, what the edit distance compares, pieces outside the grammar
Read = tuple[list[Any], list[Any], int]

SPACE = b" \t\n\v\f\r"
CELL = re.compile(rb"r([0-9]{1,4})c([0-9]{1,4})=(.{1,32})", re.DOTALL)
VALUE = re.compile(rb'[ \t-\r]*(?:"([^"]*)"|([^ \t-\r,\[\]"]+))[ \t-\r]*')
LABEL = rb"([0-9A-Za-z_]{1,32})"
QUOTED = rb'(?:"%b"|%b)' % (LABEL, LABEL)
PAIR = re.compile(
    rb"(?:\[S*QS*,S*QS*\]|\(S*QS*,S*QS*\)|\{S*QS*,S*QS*\})".replace(b"S", rb"[ \t-\r]").replace(
        b"Q", QUOTED
    )
)
DASHED = re.compile(rb'"%b-%b"|%b-%b' % (LABEL, LABEL, LABEL, LABEL))
BRACKET = re.compile(rb"[][]")
KEY = re.compile(rb'[ \t-\r]*"(v|c|edges)"[ \t-\r]*:[ \t-\r]*')
NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
MAX_DEPTH = 256


def read_grid(text: bytes) -> Read:
    cells: list[tuple[int, int, bytes]] = []
    junk = 0
    if text.lstrip(SPACE).startswith(b"["):
        rows = text.lstrip(SPACE)[1:].lstrip(SPACE)[:1] in (b"", b"[")
        junk = int(not (_read_rows if rows else _read_square)(text.strip(SPACE), cells))
    else:
        for word in re.split(rb"[ \t-\r,;]+", text):
            match = CELL.fullmatch(word)
            if match:
                row, column, value = match.groups()
                cells.append((int(row), int(column), _value(value)))
            elif word:
                junk += 1
    in_order = sorted(cells, key=lambda cell: cell[:2])
    return list(cells), [value for _, _, value in in_order], junk


def _read_rows(text: bytes, cells: list[tuple[int, int, bytes]]) -> bool:
    at, row = 1, 0
    while True:
        row += 1
        at = _skip(text, at)
        if text[at : at + 1] != b"[":
            return False
        column = 0
        while True:
            match = VALUE.match(text, at + 1)
            if not match:
                return False
            value = _cell(match)
            if len(value) > 32:
                return False
            column += 1
            cells.append((row, column, value))
            at = match.end()
            if text[at : at + 1] != b",":
                break
        if text[at : at + 1] != b"]":
            return False
        at = _skip(text, at + 1)
        if text[at : at + 1] != b",":
            return text[at:] == b"]"
        at += 1


def _read_square(text: bytes, cells: list[tuple[int, int, bytes]]) -> bool:
    """All cells of a square in one list, where 0 is empty, too."""
    values, at = [], 0
    while True:
        match = VALUE.match(text, at + 1)
        if not match:
            return False
        value = _cell(match)
        if len(value) > 32:
            return False
        values.append(b"_" if value == b"0" else value)
        at = match.end()
        if text[at : at + 1] != b",":
            break
    size = math.isqrt(len(values))
    if text[at:] != b"]" or size * size != len(values):
        return False
    cells += [(i // size + 1, i % size + 1, value) for i, value in enumerate(values)]
    return True


def _cell(match: re.Match[bytes]) -> bytes:
    quoted, bare = match.groups()
    return _value(quoted if bare is None else b"_" if bare == b"null" else bare)


def _value(value: bytes) -> bytes:
    return b"_" if value in (b"", b"-", b".") else _trimmed(value)


def _trimmed(value: bytes) -> bytes:
    return (value.lstrip(b"0") or b"0") if value.isdigit() else value


def _edges_of_graph(text: bytes) -> bytes:
    """The edges of ``{"v": 3, "c": 2, "edges": [..]}``; else the text as it is."""
    at, seen, edges = _skip(text, 0), set(), b""
    if text[at : at + 1] != b"{":
        return text
    while True:
        key = KEY.match(text, at + 1)
        if not key or key.group(1) in seen:
            return text
        seen.add(key.group(1))
        if key.group(1) == b"edges":
            end = _list_end(text, key.end())
            edges = text[key.end() : end]
        else:
            end = re.compile(rb"[0-9]*").match(text, key.end()).end()  # type: ignore[union-attr]
        if end == key.end():
            return text
        at = _skip(text, end)
        if text[at : at + 1] != b",":
            break
    whole = text[at : at + 1] == b"}" and _skip(text, at + 1) == len(text)
    return edges if edges and whole else text


def _list_end(text: bytes, at: int) -> int:
    """Behind the bracket that closes a list; ``at`` itself where none opens or closes."""
    depth = 0
    for bracket in BRACKET.finditer(text, at) if text[at : at + 1] == b"[" else ():
        depth += 1 if bracket.group() == b"[" else -1
        if depth == 0:
            return bracket.end()
    return at


def read_edges(text: bytes) -> Read:
    text = _edges_of_graph(text)
    edges: list[tuple[bytes, ...]] = []
    junk, at, outer, started, ended = 0, 0, b"", False, False
    while True:
        at = re.compile(rb"[ \t-\r,;]*").match(text, at).end()  # type: ignore[union-attr]
        if at == len(text):
            break
        if ended:
            junk += 1
            break
        c = text[at : at + 1]
        match = PAIR.match(text, at)
        if match:
            at = match.end()
            edges.append(_edge(match.groups()))
        elif c in b"[({":
            if started:
                junk += 1
            else:
                outer = {b"[": b"]", b"(": b")", b"{": b"}"}[c]
            at += 1
        elif c in b"])}":
            ended = c == outer
            junk += not ended
            at += 1
        else:
            word = re.compile(rb"[^ \t-\r,;\[\](){}]+").match(text, at)
            at = word.end()  # type: ignore[union-attr]
            dashed = DASHED.fullmatch(word.group())  # type: ignore[union-attr]
            if dashed:
                edges.append(_edge(dashed.groups()))
            else:
                junk += 1
        started = True
    junk += bool(outer) and not ended
    return edges, list(dict.fromkeys(edges)), junk


def _edge(groups: tuple[bytes | None, ...]) -> tuple[bytes, ...]:
    labels = [_trimmed(g) for g in groups if g is not None]
    return tuple(sorted(labels, key=lambda label: (len(label), label)))


def read_numbers(text: bytes) -> Read:
    if not text.strip(SPACE):
        return [], [], 0
    leaves: list[tuple[Any, Any]] = []
    whole = _read_json(text, leaves)
    return list(leaves), [value for _, value in leaves], int(not whole)


def _read_json(text: bytes, leaves: list[tuple[Any, Any]]) -> bool:
    at = 0
    levels: list[list[Any]] = []  # [path, next index or None]
    path: tuple[Any, ...] = ()
    while True:
        at = _skip(text, at)
        c = text[at : at + 1]
        if c and c in b"[{":
            if len(levels) == MAX_DEPTH:
                return False
            levels.append([path, 0 if c == b"[" else None])
            at = _skip(text, at + 1)
            if text[at : at + 1] != (b"]" if c == b"[" else b"}"):
                entered = _enter(text, at, levels[-1])
                if entered is None:
                    return False
                at, path = entered
                continue
            at += 1
            levels.pop()
        else:
            leaf = _leaf(text, at)
            if leaf is None:
                return False
            at, value = leaf
            leaves.append((path, value))
        while levels:
            at = _skip(text, at)
            c = text[at : at + 1]
            if c == b",":
                break
            if c != (b"}" if levels[-1][1] is None else b"]"):
                return False
            at += 1
            levels.pop()
        if not levels:
            return _skip(text, at) == len(text)
        entered = _enter(text, at + 1, levels[-1])
        if entered is None:
            return False
        at, path = entered


def _enter(text: bytes, at: int, level: list[Any]) -> tuple[int, tuple[Any, ...]] | None:
    if level[1] is not None:
        level[1] += 1
        return at, (*level[0], level[1] - 1)
    key = STRING.match(text, _skip(text, at))
    if not key:
        return None
    at = _skip(text, key.end())
    return (at + 1, (*level[0], key.group(1))) if text[at : at + 1] == b":" else None


def _leaf(text: bytes, at: int) -> tuple[int, Any] | None:
    number = NUMBER.match(text, at)
    if number:
        begun = text[number.end() : number.end() + 1]  # 1. and 1e are none, 1.5.2 is 1.5 and more
        if number[2] is None and (begun in (b"e", b"E") or begun == b"." and number[1] is None):
            return None
        value = float(number.group())
        # float64 holds neither 1e999 nor 1e-999
        lost = value == 0 and re.search(rb"[1-9]", re.split(rb"[eE]", number.group())[0])
        return None if abs(value) == float("inf") or lost else (number.end(), value)
    string = STRING.match(text, at)
    if string:
        return string.end(), string.group(1)
    word = re.compile(rb"[a-z]*").match(text, at).group()  # type: ignore[union-attr]
    return (at + len(word), json.dumps(word.decode())) if word in KEYWORDS else None


KEYWORDS = (b"true", b"false", b"null")


def read_words(text: bytes) -> Read:
    words = [word for word in re.split(rb"[ \t-\r]+", text) if word]
    return words, words, 0


READERS = {"grid": read_grid, "edges": read_edges, "numbers": read_numbers, "text": read_words}


def _skip(text: bytes, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at
