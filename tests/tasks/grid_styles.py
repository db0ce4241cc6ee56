"""How five public models write a 9x9 grid when nobody tells them how, each with its right reading.

Written in the style of Qwen3-VL, InternVL3.5, Gemma 3, LLaVA-OneVision and SmolVLM; not sampled.
"""

from __future__ import annotations

import json

ROWS = "53..7.... 6..195... .98....6. 8...6...3 4..8.3..1 7...2...6 .6....28. ...419..5 ....8..79"
ROWS = ROWS.split()
GRID = [int(c) if c != "." else 0 for row in ROWS for c in row]
DONE = "534678912 672195348 198342567 859761423 426853791 713924856 961537284 287419635 345286179"
SOLVED = [int(c) for c in DONE.replace(" ", "")]


def lines(
    separator: str = " ", blank: str = ".", before: str = "", after: str = "", rows=ROWS
) -> str:
    return "\n".join(
        before + separator.join(c.replace(".", blank) for c in r) + after for r in rows
    )


def nested(blank, rows=ROWS):
    return [[int(c) if c != "." else blank for c in row] for row in rows]


def boxed(separator: str = " ") -> str:
    """Bars between boxes and rules between bands."""
    out = []
    for i, row in enumerate(ROWS):
        if i in (3, 6):
            out.append("------+-------+------")
        out.append(" | ".join(separator.join(row[j : j + 3]) for j in (0, 3, 6)))
    return "\n".join(out)


def markdown(blank: str = " ", head: str | None = None, bold: bool = False) -> str:
    mark = "**{}**" if bold else "{}"
    table = [
        "| " + " | ".join(mark.format(c) if c != "." else blank for c in r) + " |" for r in ROWS
    ]
    rule = "|" + "---|" * 9
    return "\n".join([head, rule, *table] if head is not None else [table[0], rule, *table[1:]])


def latex(environment: str, spec: str, blank: str, rule: str = r"\hline") -> str:
    body = "\n".join(" & ".join(c if c != "." else blank for c in r) + rf" \\ {rule}" for r in ROWS)
    return f"\\begin{{{environment}}}{spec}\n{rule}\n{body}\n\\end{{{environment}}}"


NUMBERED = "| " + " | ".join("123456789") + " |"
EMPTY = "|" + "   |" * 9
NAMED_ROWS = "\n".join(
    ["| Row | " + " | ".join(f"C{i}" for i in range(1, 10)) + " |", "|" + "---|" * 10]
    + [f"| **R{i}** | " + " | ".join(r.replace(".", " ")) + " |" for i, r in enumerate(ROWS, 1)]
)
LABELLED = "\n".join(
    f"- **Row {i}:** " + ", ".join(c.replace(".", "empty") for c in row)
    for i, row in enumerate(ROWS, 1)
)
GIVEN = json.dumps(nested("-"))
PRETTY = "[\n" + ",\n".join("  " + json.dumps(row) for row in nested(0)) + "\n]"

READ = {  # style -> text
    "Qwen3-VL, JSON with dashes": GIVEN,
    "Qwen3-VL, JSON in a fence": f"Here is the grid:\n\n```json\n{PRETTY}\n```",
    "Qwen3-VL, JSON one row a line": f"First, I describe the grid:\n{PRETTY}\nThat is all.",
    "Qwen3-VL, zeros": f"The Sudoku grid is:\n\n{lines(blank='0')}\n",
    "Qwen3-VL, object": json.dumps({"grid": nested(0)}),
    "Qwen3-VL, flat list": json.dumps(GRID),
    "Qwen3-VL, nulls": json.dumps(nested(None)),
    "Qwen3-VL, empty strings": json.dumps(nested("")),
    "Qwen3-VL, bare dashes": GIVEN.replace('"', ""),
    "Qwen3-VL, strings": json.dumps([[*row] for row in ROWS]),
    "Qwen3-VL, python": f"```python\ngrid = {nested(0)}\n```",
    "InternVL3.5, markdown": "The grid:\n\n" + markdown(),
    "InternVL3.5, markdown with dots": markdown("."),
    "InternVL3.5, markdown under numbers": markdown(" ", NUMBERED),
    "InternVL3.5, markdown under nothing": markdown(" ", EMPTY),
    "InternVL3.5, markdown under names": markdown("-", "| A | B | C | D | E | F | G | H | I |"),
    "InternVL3.5, named rows": NAMED_ROWS,
    "InternVL3.5, bold": markdown("_", NUMBERED, bold=True),
    "InternVL3.5, array": f"$$\n{latex('array', '{|c|c|c|c|c|c|c|c|c|}', '')}\n$$",
    "InternVL3.5, array with boxes": latex("array", "{|*{9}{c|}}", r"\square"),
    "InternVL3.5, tabular": latex("tabular", "{ccc|ccc|ccc}", "-", ""),
    "InternVL3.5, matrix": "\\[" + latex("bmatrix", "", r"\_", "") + "\\]",
    "InternVL3.5, bold array": latex("array", "{ccccccccc}", r"\text{ }").replace(
        "5", r"\textbf{5}"
    ),
    "Gemma 3, bars and rules": f"```\n{boxed()}\n```",
    "Gemma 3, boxes without spaces": boxed(""),
    "Gemma 3, underscores": f"Okay, here is what I see:\n\n```\n{lines(blank='_')}\n```\n",
    "Gemma 3, labelled rows": f"Here's the grid:\n\n{LABELLED}",
    "Gemma 3, labelled rows with numbers": "\n".join(
        f"Row {i}: {' '.join(row)}" for i, row in enumerate(ROWS, 1)
    ),
    "Gemma 3, numbered list": "\n".join(f"{i}. {' '.join(r)}" for i, r in enumerate(ROWS, 1)),
    "Gemma 3, asterisks": lines(blank="*"),
    "Gemma 3, bracketed rows": lines(", ", "_", "[", "]"),
    "Gemma 3, twice the same": f"{lines()}\n\nSo, as JSON:\n{GIVEN}",
    "Gemma 3, frame": "+-------+-------+-------+\n"
    + boxed().replace("------+-------+------", "+---+"),
    "LLaVA-OneVision, one word a row": lines(""),
    "LLaVA-OneVision, CSV": lines(",", "", rows=ROWS),
    "LLaVA-OneVision, CSV with zeros": lines(",", "0", "", ","),
    "LLaVA-OneVision, numpy": "[" + lines(" ", "0", "[", "]") + "]",
    "LLaVA-OneVision, strings": json.dumps(ROWS),
    "SmolVLM, bars": lines(" | ", " ", "| ", " |"),
    "SmolVLM, bars without edges": lines(" | ", "_"),
    "SmolVLM, drawn": lines(" │ ", " ", "│ ", " │"),
    "SmolVLM, question marks": lines(" ", "?"),
    "SmolVLM, chatter": f"There are 9 rows and 9 columns.\n{lines(blank='0')}\nThe sum is 45.",
}

OTHER = ROWS[0].replace("5", "4")
REFUSED = {  # style -> (text, reason)
    "nothing": ("", "no_grid"),
    "prose": ("The image shows a Sudoku with 30 given digits.", "no_grid"),
    "HTML": ("<table><tr><td>5</td></tr></table>", "no_grid"),
    "the digits in words": ("Row one has a five, a three and a seven.", "no_grid"),
    "clues only": ("(1,1)=5, (1,2)=3, (1,5)=7", "no_grid"),
    "canonical words out of place": ("r1c2=3 r1c1=5", "no_grid"),
    "eight rows": (lines(rows=ROWS[:8]), "rows"),
    "ten rows": (lines(rows=[*ROWS, ROWS[0]]), "rows"),
    "numbers above without a rule": ("1 2 3 4 5 6 7 8 9\n" + lines(), "rows"),
    "an empty head and eight rows": (
        "\n".join(markdown(" ", EMPTY).splitlines()[:-1]),
        "head",
    ),
    "numbers as a head and eight rows": (
        "\n".join(markdown(" ", NUMBERED).splitlines()[:-1]),
        "head",
    ),
    "a rule and a row in one line": (markdown(" ", NUMBERED).replace("|---|\n|", "|---||"), "row"),
    "a table cut in its last row": (markdown("_", NUMBERED, bold=True)[:-6], "row"),
    "a row cut after a comma": (lines(", ", "0")[:-1], "row"),
    "a short row": (lines(rows=[*ROWS[:8], ROWS[8][:8]]), "row"),
    "a long row": (lines(rows=[*ROWS[:8], ROWS[8] + "."]), "row"),
    "one cell too many in JSON": (json.dumps([*nested(0)[:8], [0] * 10]), "not_square"),
    "80 cells": (json.dumps(GRID[:80]), "not_square"),
    "a digit above nine": (GIVEN.replace("8", "10"), "not_square"),
    "a letter": (lines().replace("7", "T"), "rows"),
    "a comma missing in JSON": (GIVEN.replace("5, 3", "5 3"), "no_grid"),
    "JSON that never ends": (GIVEN[:-30], "broken"),
    "an array that never ends": (latex("array", "{c}", "-")[:-20], "unclosed"),
    "an array of eight rows": (latex("array", "{c}", "-").replace(r"5 & 3", "", 1), "not_square"),
    "two grids": (f"{GIVEN}\nNo, it is\n{json.dumps(nested(0, [OTHER, *ROWS[1:]]))}", "two_grids"),
    "two grids in two notations": (f"{GIVEN}\n\n{lines(rows=[OTHER, *ROWS[1:]])}", "two_grids"),
    "a corrected row": (lines() + f"\nRow 1 is really:\n{' '.join(OTHER)}", "rows"),
    "rows in another order": (
        "\n".join(f"Row {i}: {' '.join(ROWS[i - 1])}" for i in (2, 1, *range(3, 10))),
        "row_order",
    ),
    "a row named twice": (
        "\n".join(f"Row {i}: {' '.join(ROWS[i - 1])}" for i in (1, 1, *range(3, 10))),
        "row_order",
    ),
    "far too much": ("5" * 200_000, "too_long"),
}
