"""A square grid in the words of a model that nobody told how to write one.

Read are JSON lists (nested or flat), LaTeX arrays and tables, markdown tables, and lines of digits
with spaces, commas, bars or nothing between them; code fences and prose around do not matter. An
empty cell is 0, a dash, a dot, an underscore or one of ``BLANKS``.

Nothing is guessed: whatever looks like a row must be one, and all grids of the text must be the
same. Time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from percbal.responses.json_text import Value, scan
from percbal.responses.reading import Refusal, too_long

Grid = list[int]
Row = list[int]
BLANKS = frozenset(
    "0 . _ - – — * · ? x X □ ■ ☐ ⬜ null none empty blank \"\" '' __ -- \\_ ".split()
)
LATEX_BLANKS = re.compile(r"\\(?:square|Box|cdot|quad|_|-|phantom\{.?\})(?![a-zA-Z])")
LATEX_FONTS = re.compile(r"\\(?:text|textbf|mathbf|mathrm|boldsymbol)\{([^{}]{0,9})\}")
COLUMNS = re.compile(r"\s*+\{(?:[^{}]|\{[^{}]*\})*\}")
ARRAY = re.compile(r"\\begin\{([a-z]*(?:array|tabular|matrix))\}")
RULES = re.compile(r"\\(?:hline|toprule|midrule|bottomrule|c(?:line|midrule)\{[^{}]{0,20}\})")
LINE_LABEL = re.compile(
    r"(?:[-*+•][ ]+)?[*_]*(?:(?:row|r)[ ]?(\d{1,2})[*_]*[ ]*[:|]|(\d{1,2})[:.)][ ])[*_]*",
    re.IGNORECASE,
)
ROW_NAME = re.compile(r"[*_]*(?:row|r)?[ ]?(\d{1,2})[*_]*:?", re.IGNORECASE)
CONTAINERS = ("[", "{")
RULE_LINE = re.compile(r"[|+:=\s_─━│┃┼╋╂┿┏┓┗┛┌┐└┘├┤┬┴┠┨┯┷━-]*")
DASHES = re.compile(r"-{2,}|={2,}|─|━|:-|-:")
BARS = str.maketrans("│┃¦", "|||")


def read_grid(text: str, size: int) -> Grid | Refusal:
    """The grid of ``size`` x ``size`` digits, 0 for an empty cell, or why there is none."""
    if refusal := too_long(text):
        return refusal
    rest, grids = _arrays(text, size)
    rest, listed = _lists(rest, size)
    grids += [*listed, *_lines(rest, size)]
    for grid in grids:
        if isinstance(grid, Refusal):
            return grid
    if not grids:
        return Refusal("no_grid", f"there is no grid of {size} x {size} cells")
    if any(grid != grids[0] for grid in grids):
        return Refusal("two_grids", "there are two different grids")
    return grids[0] if isinstance(grids[0], list) else Refusal("no_grid", "there is no grid")


Found = list[Grid | Refusal]


def _cell(word: str, size: int) -> int | None:
    word = word.strip()
    if len(word) > 2 and word[:2] == word[-2:] == "**":
        word = word[2:-2].strip()
    word = word.strip("`$\"'").strip() or "_"
    if word.casefold() in BLANKS:
        return 0
    return int(word) if word in "123456789"[:size] and len(word) == 1 else None


def _row(words: Iterable[str], size: int) -> Row | None:
    row = [_cell(word, size) for word in words]
    return [cell for cell in row if cell is not None] if None not in row else None


def _arrays(text: str, size: int) -> tuple[str, Found]:
    """The grids of LaTeX environments, and the text without these."""
    found: Found = []
    rest, at = [], 0
    while (opening := ARRAY.search(text, at)) is not None:
        end = text.find(f"\\end{{{opening[1]}}}", opening.end())
        if end < 0:
            found.append(Refusal("unclosed", f"the LaTeX {opening[1]} has no end"))
            break
        rest.append(text[at : opening.start()])
        spec = COLUMNS.match(text, opening.end(), end)
        body = text[spec.end() if spec else opening.end() : end]
        body = LATEX_BLANKS.sub(" _ ", LATEX_FONTS.sub(r"\1", RULES.sub(" ", body)))
        lines = [line.split("&") for line in re.split(r"\\\\(?:\[[^\]]{0,9}\])?", body)]
        lines = [[w.strip().strip("{}") for w in line] for line in lines if line != [""]]
        lines = [line for line in lines if len(line) > 1 or line[0]]
        found.append(_square([_row(line, size) for line in lines], size, "LaTeX table"))
        at = end + len(opening[1]) + 6
    return "\n".join([*rest, text[at:]]), found


def _square(rows: Sequence[Row | None], size: int, what: str) -> Grid | Refusal:
    if len(rows) != size or any(row is None or len(row) != size for row in rows):
        return Refusal("not_square", f"the {what} is not {size} x {size} digits and blanks")
    return [cell for row in rows for cell in row or []]


def _lists(text: str, size: int) -> tuple[str, Found]:
    """The grids of JSON lists, and the text without the lists that hold more than a row."""
    found: Found = []
    rest, at = [], 0
    scanned = scan(text)
    for value in scanned.whole:
        for one in (
            [value] if value.kind == "[" else [v for _, _, v in value.members if v.kind == "["]
        ):
            flat = all(item.kind not in CONTAINERS for item in one.items)
            if flat and len(one.items) <= size and not _wide(text, one):
                continue  # at most a row, for the lines
            found.append(_listed(text, one, size))
            rest.append(text[at : one.start])
            at = one.end
    lost = [
        v for v in [*scanned.broken, scanned.cut] if v is not None and v.kind == "[" and v.items
    ]
    if any(item.kind == "[" and len(item.items) > 1 for value in lost for item in value.items):
        found.append(Refusal("broken", "a list of rows is not valid JSON"))
    return "\n".join([*rest, text[at:]]), found


def _wide(text: str, value: Value) -> bool:
    """A list of rows that are one string each."""
    strings = [item.text(text) for item in value.items if item.kind == '"']
    long = [string for string in strings if len(string) > 2 and string.casefold() not in BLANKS]
    return len(long) == len(value.items) > 1


def _listed(text: str, value: Value, size: int) -> Grid | Refusal:
    items = value.items
    if len(items) == size * size and all(item.kind not in CONTAINERS for item in items):
        flat = _row((item.text(text) for item in items), size)
        return Refusal("cell", "a cell of the list is no digit") if flat is None else flat
    rows: list[Row | None] = []
    for item in items:
        if item.kind == "[" and all(cell.kind not in CONTAINERS for cell in item.items):
            rows.append(_row((cell.text(text) for cell in item.items), size))
        elif item.kind == '"':
            rows.append(_line(item.text(text), size))
        else:
            rows.append(None)
    return _square(rows, size, "list")


def _lines(text: str, size: int) -> Found:
    """The grids of lines that are a row each."""
    rows: list[Row] = []
    labels: list[int] = []
    lines = [line.translate(BARS).strip() for line in text.splitlines()]
    for number, line in enumerate(lines):
        if not line or line.startswith(("```", "~~~")) or _is_rule(line):
            continue
        if _is_header(lines, number, size):
            continue
        label = LINE_LABEL.match(line)
        body = line[label.end() :].strip() if label else line
        row = _line(body, size)
        if row is None and label and not label[1]:  # no label, but a number
            row, label, body = _line(line, size), None, line
        if row is None and not label:
            row, label = _named_row(body, size)
        if row is None:
            if _looks_like_a_row(body, size) or (label and _looks_like_a_row(body, 1)):
                return [Refusal("row", f"this is no row of {size} cells: {line[:30]!r}")]
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if not rows and "|" in line and _is_rule(below) and _like_a_head(row, size):
            return [Refusal("head", "the first row of the table may be its head")]
        rows.append(row)
        if label:
            labels.append(int(label[label.lastindex or 1]))
    if not rows:
        return []
    if labels and labels not in ([*range(1, size + 1)], [*range(size)]):
        return [Refusal("row_order", "the rows' numbers are not in order")]
    if len(rows) % size:
        return [Refusal("rows", f"there are {len(rows)} rows, not {size}")]
    return [_square(rows[i : i + size], size, "text") for i in range(0, len(rows), size)]


def _line(line: str, size: int) -> Row | None:
    """The cells of a line that is one row, else None."""
    line = line.strip()
    if line.count(",") == size - 1 and line.endswith(",") and ",," in line:
        words = _by_commas(line, size)  # its last cells are empty
        return None if words is None else _row(words, size)
    line = line.rstrip(",;").strip()
    if line[:1] in "[({" and line[-1:] in "])}":
        line = line[1:-1].strip("[]() ")
    for split in (_by_bars, _by_commas, _by_spaces, _by_characters):
        words = split(line, size)
        if words is not None and len(words) == size:
            row = _row(words, size)
            if row is not None:
                return row
    return None


def _fields(line: str) -> list[str] | None:
    if "|" not in line or line.startswith("|") != line.endswith("|"):
        return None
    return line.removeprefix("|").removesuffix("|").split("|")


def _by_bars(line: str, size: int) -> list[str] | None:
    """One cell in each field, or one box's cells."""
    fields = _fields(line)
    if fields is None or len(fields) == size:
        return fields
    box = {4: 2, 9: 3}.get(size, size)
    words = [_boxed(field, box) for field in fields]
    if len(fields) != box or not all(len(cells) == box for cells in words):
        return None
    return [cell for cells in words for cell in cells]


def _boxed(field: str, box: int) -> list[str]:
    words = field.replace(",", " ").split()
    return list(words[0]) if len(words) == 1 and len(words[0]) == box else words


def _by_commas(line: str, size: int) -> list[str] | None:
    """Empty cells are either nothing at all or a sign for it, not now this and now that."""
    if "," not in line or "|" in line:
        return None
    words = [word.strip() for word in line.split(",")]
    return None if "" in words and not all(word in "123456789" for word in words) else words


def _by_spaces(line: str, size: int) -> list[str] | None:
    return None if "," in line or "|" in line else line.split()


def _by_characters(line: str, size: int) -> list[str] | None:
    """``53..7....``, or the boxes of a row with a space between."""
    words = line.split()
    box = {4: 2, 9: 3}.get(size, size)
    if len(words) == 1 or [len(word) for word in words] == [box] * box:
        return list("".join(words))
    return None


def _named_row(line: str, size: int) -> tuple[Row | None, re.Match[str] | None]:
    """A table's row of which the first cell is the row's name."""
    fields = _fields(line)
    if fields is None or len(fields) != size + 1:
        return None, None
    name = ROW_NAME.fullmatch(fields[0].strip())
    return (_row(fields[1:], size), name) if name else (None, None)


def _is_rule(line: str) -> bool:
    return RULE_LINE.fullmatch(line) is not None and DASHES.search(line) is not None


def _is_header(lines: Sequence[str], number: int, size: int) -> bool:
    """A markdown table's head that names or numbers the columns, or is empty over a whole table."""
    below = lines[number + 1] if number + 1 < len(lines) else ""
    fields = _fields(lines[number])
    if fields is None or not below.startswith(("|", ":", "-")) or not _is_rule(below):
        return False
    body = number + 2
    while body < min(len(lines), number + size + 3) and "|" in lines[body]:
        body += 1
    names = [field.strip(" *_`") for field in fields][-size:]
    numbered = names in ([str(i) for i in range(1, size + 1)], [str(i) for i in range(size)])
    empty = not any(names)
    return body - number - 2 == size and (numbered or empty)


def _like_a_head(row: Row, size: int) -> bool:
    return not any(row) or row in ([*range(1, size + 1)], [*range(size)])


def _looks_like_a_row(line: str, size: int) -> bool:
    """Nothing but cells, and too many of them to be a number in the text."""
    words = re.split(r"[\s,|]+", line.strip("[](){}|,; "))
    cells = [word for word in words if word]
    if len(cells) == 1:
        return (
            size > 1 and len(cells[0]) >= size - 1 and all(c in "0123456789._-*" for c in cells[0])
        )
    return len(cells) > 1 and all(
        word.casefold() in BLANKS or not word or (len(word) <= 3 and word.isdecimal())
        for word in (cell.strip("-:*`\"'") for cell in cells)
    )
