"""A graph's edges, and a colouring of its vertices, in the words of a model that nobody told how.

Vertices are numbers, colours letters, names or numbers. Nothing is guessed: what looks like an
edge, or like a vertex with a colour, must stand in a list of such, and several lists must say the
same. Numbers are colours where each has its vertex beside it, and no colour is a letter or a name.
Time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from percbal.responses.json_text import Value, scan
from percbal.responses.reading import Refusal, too_long

Edges = frozenset[tuple[int, int]]
Coloring = dict[int, str]
PAIR = re.compile(
    r"[(\[{][ ]*v?(\d{1,3})[ ]*,[ ]*v?(\d{1,3})[ ]*[)\]}]"
    r"|(?<![\w.])v?(\d{1,3})[ ]*(?:-{1,3}|<?-{1,2}>|[–—↔])[ ]*v?(\d{1,3})(?!\w)"
)
# a range of vertices is no edge
RANGE = re.compile(
    r"\b(?:vertices|nodes|labels|labell?ed|numbered)[ :]{1,3}(?:are[ ])?(?:from[ ])?"
    r"\d{1,3}[ ]?[-–—][ ]?\d{1,3}\b",
    re.IGNORECASE,
)
BETWEEN = re.compile(r"(?:[\s,;.&*`$|\[\](){}\\\"'=]|\band\b|\bedges?\b|\bE\b)*", re.IGNORECASE)
BULLET = re.compile(
    r"[ \t]*(?:[-*+•][ ]|\d{1,3}[.)][ ])?[ \t]*[*_]*(?:edge[ ]\d{1,3}[ ]?[:.)][*_]*[ ])?",
    re.IGNORECASE,
)
HEADING = re.compile(
    r"[^:=()\[\]{}]{0,80}\bedges?\b[^:=()\[\]{}]{0,80}?(?::|=|\bare\b)[*_]*", re.IGNORECASE
)
DENIED = re.compile(r"\b(?:no|not|non|none|missing|without)\b", re.IGNORECASE)
TOLD = re.compile(
    r"\b(?:connect\w*|adjacent|linked|joined)[ ](?:to|with)\b|\bbetween\b", re.IGNORECASE
)
NUMBERS_ONLY = re.compile(r"[\W\d]*")
NAMES = "red|green|blue|yellow|orange|purple|violet|pink|brown|black|white|gr[ae]y|cyan|magenta"
NAMES += "|teal|gold|silver|turquoise|lime|navy|maroon|olive|indigo|beige|aqua|lavender|crimson"
QUOTES = "[\"'`*]*+"
LETTERS, NUMBERS = f"{QUOTES}([a-z]|{NAMES}){QUOTES}(?!\\w)", rf"(\d{{1,2}}){QUOTES}(?!\w)"
VERTEX = (
    rf"(?:and[ ])?{QUOTES}(?:vertex|node|v|c\(|colou?r\()?[ _]?{QUOTES}(\d{{1,3}}){QUOTES}\)?[ ]*+"
)
VERB = r"(?:is|gets)[ ](?:colou?red|assigned|colou?r)[ ]"
SHADE = rf"{QUOTES}(?:colou?r[ _#]{{0,2}}|c(?=\d))"
COLOR = re.compile(
    rf"{VERTEX}(?:(?::|=|->|→|➔|\|)[*_]*+[ ]*+|{VERB})(?:colou?r[ ])?[ ]*+{LETTERS}", re.IGNORECASE
)
NUMBERED = re.compile(  # 0->1 is an edge, and 0 | 1 a row of any table
    rf"{VERTEX}(?:(?:[:=][*_]*+[ ]*+|{VERB})(?:{SHADE}|{QUOTES})|(?:->|→|➔|\|)[*_]*+[ ]*+{SHADE})"
    + NUMBERS,
    re.IGNORECASE,
)
BESIDE = rf"\b\d{{1,3}}{QUOTES}[ ]?"
COLOR_IN = re.compile(rf"{BESIDE}(?::|=|->|→|➔)[ ]?{LETTERS}", re.IGNORECASE)
NUMBER_IN = re.compile(rf"{BESIDE}[:=][ ]?(?:colou?r[ ])?{NUMBERS}", re.IGNORECASE)
HEAD = re.compile(r"\b(?:vertex|node)[^\n|]{0,20}\|[^\n|]{0,20}\bcolou?r\b", re.IGNORECASE)
A_COLOR = re.compile(f"(?:colou?r )?([a-z]|{NAMES})")
A_NUMBER = re.compile(rf"({SHADE})?(\d{{1,2}})")
A_VERTEX = re.compile(r"(?:vertex|node|v)?[ _]?\d{1,3}", re.IGNORECASE)
INTRO = re.compile(r"[^:=\d]{0,80}(?::|=)[*_]*")
CONTAINERS = ("[", "{")
ITEM = re.compile(r"[,;\n]")
AROUND = " \t.|`$*_{}[]()"
DIGITS = re.compile(r"\d{1,3}")
SPACE = re.compile(r"[ \t]++")


def read_edges(text: str) -> Edges | Refusal:
    """The edges, each once with the smaller vertex first, or why they cannot be told."""
    if refusal := too_long(text):
        return refusal
    rest, found = _edge_lists(text)
    found += _edge_lines(RANGE.sub(" ", rest))
    for one in found:
        if isinstance(one, Refusal):
            return one
    if not found:
        return Refusal("no_edges", "there is no list of edges")
    if any(one != found[0] for one in found):
        return Refusal("two_lists", "there are two different lists of edges")
    return found[0]


def read_coloring(text: str) -> Coloring | Refusal:
    """The colour of each vertex, in lower case, or why it cannot be told."""
    if refusal := too_long(text):
        return refusal
    rest, objects = _colored_objects(text)
    if isinstance(objects, Refusal):
        return objects
    lines = _colored_lines(rest)
    if isinstance(lines, Refusal):
        return lines
    letters = objects.letters + lines.letters
    if letters and objects.numbers:
        return Refusal("color", "some colours are numbers and others are not")
    colors: Coloring = {}
    for vertex, color in letters or objects.numbers + lines.numbers:
        if colors.setdefault(vertex, color) != color:
            return Refusal("two_colors", f"vertex {vertex} has two colours")
    return colors or Refusal("no_coloring", "no vertex has a colour")


def _edges(pairs: Iterable[tuple[str, str]]) -> Edges | Refusal:
    edges = {(min(a, b), max(a, b)) for a, b in ((int(a), int(b)) for a, b in pairs)}
    loops = [a for a, b in edges if a == b]
    return (
        Refusal("loop", f"vertex {loops[0]} has an edge to itself") if loops else frozenset(edges)
    )


def _edge_lists(text: str) -> tuple[str, list[Edges | Refusal]]:
    """The edges of JSON lists of pairs, and the text without them."""
    found: list[Edges | Refusal] = []
    rest, at = [], 0
    scanned = scan(text)
    if scanned.cut is not None and scanned.cut.items:
        found.append(Refusal("unclosed", "the list of edges has no end"))
    for value in scanned.whole:
        edges = _listed(text, value)
        if edges is not None:
            found.append(edges)
            rest.append(text[at : value.start])
            at = value.end
    return "\n".join([*rest, text[at:]]), found


def _listed(text: str, value: Value) -> Edges | Refusal | None:
    """The edges of an object or a list; None for one that is left to the lines."""
    if value.kind == "{":
        named = [v for key, _, v in value.members if "edge" in key.casefold() or key == "E"]
        if len(named) != 1 or named[0].kind != "[":
            return Refusal("no_edges", "an object has no list of edges")
        return _edge_list(text, named[0])
    if any(item.kind in CONTAINERS for item in value.items):
        return _edge_list(text, value)
    return frozenset() if not value.items and text.strip(" \n`") == "[]" else None


def _edge_list(text: str, value: Value) -> Edges | Refusal:
    pairs = []
    for item in value.items:
        words = [cell.text(text).strip().lstrip("v") for cell in item.items]
        if len(words) != 2 or not all(DIGITS.fullmatch(word) for word in words):
            return Refusal("edge", "a list holds more than pairs of vertices")
        pairs.append((words[0], words[1]))
    return _edges(pairs)


def _edge_lines(text: str) -> list[Edges | Refusal]:
    """One list for each run of lines that hold nothing but pairs."""
    runs: list[list[tuple[str, str]]] = []
    running = False
    for line in text.splitlines():
        if not line.strip() or line.strip().startswith(("```", "~~~")):
            continue
        start = BULLET.match(line)
        body = line[start.end() if start else 0 :]
        heading = HEADING.match(body)
        listed = body[heading.end() if heading else 0 :]
        pairs = [(m[1] or m[3], m[2] or m[4]) for m in PAIR.finditer(listed)]
        why = _why_no_list(body, listed, heading, bool(pairs))
        if why is not None:
            return [why]
        if pairs and (heading or not running):
            runs.append([])
        if pairs:
            runs[-1] += pairs
        running = bool(pairs) or (running and BETWEEN.fullmatch(body) is not None)
    return [_edges(run) for run in runs]


def _why_no_list(
    body: str, listed: str, heading: re.Match[str] | None, has_pairs: bool
) -> Refusal | None:
    """What is wrong with a line that speaks of edges but is no list of them."""
    shown = body.strip()[:30]
    numbers = len(DIGITS.findall(body))
    if heading and (PAIR.search(heading[0]) or (has_pairs and DENIED.search(heading[0]))):
        return Refusal("prose", f"an edge stands in a sentence: {shown!r}")
    if has_pairs and BETWEEN.fullmatch(PAIR.sub(" ", listed)) is None:
        return Refusal("prose", f"an edge stands in a sentence: {shown!r}")
    if not has_pairs and numbers > 1 and NUMBERS_ONLY.fullmatch(body):
        return Refusal("edge", f"this is no pair of vertices: {shown!r}")
    if not has_pairs and numbers > 1 and TOLD.search(body):
        return Refusal("prose", f"an edge is told in a sentence: {shown!r}")
    return None


Pairs = list[tuple[int, str]]


class Colored(NamedTuple):
    """Vertices with their colours, by how these are told."""

    letters: Pairs
    numbers: Pairs


def _colored_objects(text: str) -> tuple[str, Colored | Refusal]:
    """The colours in JSON objects and lists, and the text without them."""
    found = Colored([], [])
    rest, at = [], 0
    scanned = scan(text)
    lost = [*scanned.broken, *([scanned.cut] if scanned.cut else [])]
    if any(value.items or value.members for value in lost):
        return text, Refusal("broken", "an object or a list is not valid JSON")
    for value in scanned.whole:
        one = value
        inner = [v for _, _, v in value.members if v.kind in CONTAINERS]
        if len(inner) == 1 == len(value.members):  # {"coloring": {..}}
            one = inner[0]
        if one.kind == "[":
            named = [(str(i), item) for i, item in enumerate(one.items)]
        else:
            named = [(key, item) for key, _, item in one.members]
        if not named:
            continue
        for key, item in named:
            vertex = DIGITS.search(key) if len(DIGITS.findall(key)) == 1 else None
            color = item.text(text).strip().casefold()
            letter, number = A_COLOR.fullmatch(color), A_NUMBER.fullmatch(color)
            if number and not (A_VERTEX.fullmatch(key) if one.kind == "{" else number[1]):
                number = None  # [0, 1] may be vertices, and {"color 1": 0} has one
            if item.kind in CONTAINERS or vertex is None or not (letter or number):
                return text, Refusal("color", "an object or a list is no colouring")
            if letter:
                found.letters.append((int(vertex.group()), letter[1]))
            elif number:
                found.numbers.append((int(vertex.group()), str(int(number[2]))))
        rest.append(text[at : value.start])
        at = value.end
    return "\n".join([*rest, text[at:]]), found


def _colored_lines(text: str) -> Colored | Refusal:
    found = Colored([], [])
    headed = HEAD.search(text) is not None
    bare, loose = False, ""
    for item in ITEM.split(text):
        start = BULLET.match(item)
        body = item[start.end() if start else 0 :].strip(AROUND)
        intro = INTRO.match(body)
        listed = body[intro.end() :].strip(AROUND) if intro else body
        cells = body.replace("|", ":") if headed else body
        letters = _run(COLOR, body) or _run(COLOR, listed)
        numbers = _run(NUMBERED, cells) or _run(NUMBERED, listed)
        if letters:
            found.letters.extend(letters)
        elif COLOR_IN.search(item):
            return Refusal("prose", f"a vertex has a colour in a sentence: {body[:30]!r}")
        elif numbers:
            found.numbers.extend((vertex, str(int(color))) for vertex, color in numbers)
        else:
            bare = bare or DIGITS.fullmatch(body) is not None
            loose = loose or (body if NUMBER_IN.search(item) else "")
    if bare and (found.letters or found.numbers):  # as in "0, 2: a"
        return Refusal("color", "a vertex stands in the list without a colour of its own")
    if loose and found.numbers and not found.letters:
        return Refusal("prose", f"a vertex has a colour in a sentence: {loose[:30]!r}")
    return found


def _run(pattern: re.Pattern[str], words: str) -> Pairs:
    """The pairs of words that hold nothing else, with space between; else none."""
    pairs, at = [], 0
    while (pair := pattern.match(words, at)) is not None:
        pairs.append((int(pair[1]), pair[2].casefold()))
        at = pair.end()
        if at == len(words):
            return pairs
        space = SPACE.match(words, at)
        if space is None:
            break
        at = space.end()
    return []
