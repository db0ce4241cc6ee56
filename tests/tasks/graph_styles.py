"""How public models write edges and colourings when nobody tells them how, with the right readings.

Written in the style of Qwen3-VL, InternVL3.5, Gemma 3, LLaVA-OneVision and SmolVLM; not sampled.
"""

from __future__ import annotations

PAIRS = [(0, 1), (0, 3), (1, 2), (2, 3), (3, 4)]
EDGES = frozenset(PAIRS)
COLORS = {0: "a", 1: "b", 2: "a", 3: "b", 4: "a"}
TUPLES = "(0, 1), (0, 3), (1, 2), (2, 3), (3, 4)"
LISTS = "[[0, 1], [0, 3], [1, 2], [2, 3], [3, 4]]"


def pairs(between: str, separator: str, before: str = "") -> str:
    return separator.join(f"{before}{a}{between}{b}" for a, b in PAIRS)


EDGES_READ = {
    "Qwen3-VL, JSON": LISTS,
    "Qwen3-VL, JSON in a fence": f"Edges in the image:\n```json\n{LISTS}\n```",
    "Qwen3-VL, object": f'{{"vertices": 5, "edges": {LISTS}}}',
    "Qwen3-VL, strings": LISTS.replace("1", '"1"'),
    "Qwen3-VL, tuples": f"[{TUPLES}]",
    "Qwen3-VL, other direction": "[[1, 0], [3, 0], [2, 1], [3, 2], [4, 3]]",
    "InternVL3.5, sentence": f"The edges are {TUPLES}.",
    "InternVL3.5, set": f"$E = \\{{{TUPLES}\\}}$",
    "InternVL3.5, and": "Edges: (0,1), (0,3), (1,2), (2,3), and (3,4).",
    "InternVL3.5, v": "**Edges:** v0-v1, v0-v3, v1-v2, v2-v3, v3-v4",
    "Gemma 3, bullets": f"Here are the edges:\n\n{pairs('-', chr(10), '* ')}\n",
    "Gemma 3, numbered": "\n".join(f"{i}. ({a}, {b})" for i, (a, b) in enumerate(PAIRS, 1)),
    "Gemma 3, en dash": f"Edges: {pairs('–', ', ')}",
    "Gemma 3, each twice": f"{LISTS}\nEdges: {pairs('-', ', ')}",
    "LLaVA-OneVision, graphviz": f"graph G {{\n{pairs(' -- ', ';' + chr(10))};\n}}",
    "LLaVA-OneVision, commas": pairs("-", ", "),
    "LLaVA-OneVision, range": f"Vertices 0-4\nEdges: {pairs(' - ', ', ')}",
    "LLaVA-OneVision, each named": "\n".join(
        f"Edge {i}: {a}-{b}" for i, (a, b) in enumerate(PAIRS)
    ),
    "SmolVLM, words": pairs("-", " "),
    "SmolVLM, arrows": pairs(" <-> ", "\n"),
    "SmolVLM, 5 edges": f"There are 5 edges:\n{TUPLES}",
}
EDGES_REFUSED = {
    "nothing": ("", "no_edges"),
    "prose": ("A graph with some vertices.", "no_edges"),
    "connected": ("Vertex 0 is connected to vertices 1 and 3.", "prose"),
    "one more in prose": (f"{TUPLES}\nVertex 1 is also connected to 4.", "prose"),
    "one in a sentence": (f"{TUPLES}\nI think 2-4 may be there.", "prose"),
    "what is not there": (f"{TUPLES}\nNot edges: (0,4)", "prose"),
    "non-edges": ("Non-edges: (0,4)", "prose"),
    "pairs without marks": ("0,1\n1,2", "edge"),
    "places": ("Vertex 0 at (10, 20)", "prose"),
    "adjacency": ("0: 1, 3\n1: 0, 2", "edge"),
    "a path": ("0-1-2-3", "prose"),
    "a triple": ("[[0, 1], [1, 2, 3]]", "edge"),
    "a triple in a line": ("(0, 1)\n(1, 2, 3)", "edge"),
    "letters": ('[["a", "b"]]', "edge"),
    "a loop": ("[[0, 0]]", "loop"),
    "two lists": (f"{LISTS}\nCorrected: \n[[0, 1]]", "two_lists"),
    "two headings": ("Outer edges: 0-1, 1-2\nInner edges: 0-2", "two_lists"),
    "never ends": (LISTS[:-1], "unclosed"),
    "a comma missing": (LISTS.replace("0, 1", "0 1"), "prose"),
    "an object without edges": ('{"0": [1, 3]}', "no_edges"),
    "vertices only": ("The vertices are labeled 0-4.", "no_edges"),
    "far too much": ("(0,1)" * 30_000, "too_long"),
}
OWN = " ".join(f"{v}={c}" for v, c in COLORS.items())
COLORS_READ = {
    "Qwen3-VL, JSON": '{"0": "a", "1": "b", "2": "a", "3": "b", "4": "a"}',
    "Qwen3-VL, fence": '```json\n{"0": "A", "1": "B", "2": "A", "3": "B", "4": "A"}\n```',
    "Qwen3-VL, list": '["a", "b", "a", "b", "a"]',
    "Qwen3-VL, inside": '{"coloring": {"0": "a", "1": "b", "2": "a", "3": "b", "4": "a"}}',
    "Qwen3-VL, named keys": '{"v0": "a", "v1": "b", "v2": "a", "v3": "b", "v4": "a"}',
    "Qwen3-VL, python": "{0: 'a', 1: 'b', 2: 'a', 3: 'b', 4: 'a'}",
    "InternVL3.5, commas": "0: a, 1: b, 2: a, 3: b, 4: a",
    "InternVL3.5, intro": "Final coloring: 0=a, 1=b, 2=a, 3=b, and 4=a.",
    "InternVL3.5, table": "| Vertex | Color |\n|---|---|\n"
    + "\n".join(f"| {v} | {c} |" for v, c in COLORS.items()),
    "Gemma 3, bullets": "\n".join(f"* **Vertex {v}:** {c}" for v, c in COLORS.items()),
    "Gemma 3, arrows": "\n".join(f"Vertex {v} -> {c}" for v, c in COLORS.items()),
    "Gemma 3, twice": "0: a, 1: b, 2: a, 3: b, 4: a\nSo:\n"
    '{"0": "a", "1": "b", "2": "a", "3": "b", "4": "a"}',
    "LLaVA-OneVision, words": "\n".join(f"Node {v} is colored {c}." for v, c in COLORS.items()),
    "LLaVA-OneVision, functions": "color(0) = a, color(1)=b, c(2) = a, c(3)=b, color(4) = a",
    "SmolVLM, colors": "\n".join(f"{v}: color {c}" for v, c in COLORS.items()),
    "SmolVLM, arrows": "0→a, 1→b, 2→a, 3→b, 4→a",
    "own words": OWN,
    "own words, capitals": OWN.upper(),
    "own words, full stop": f"{OWN}.",
    "own words, fence": f"```\n{OWN}\n```",
    "own words, named fence": f"```text\n{OWN}.\n```",
    "own words, code": f"`{OWN}`",
    "own words, bold": f"**{OWN}**",
    "own words, intro": f"Colors: {OWN}",
    "own words, and": OWN.replace(" 4", " and 4"),
    "own words, lines": "0=a 1=b 2=a\n3=b 4=a",
    "own words, bullets": "- 0=a 1=b 2=a\n- 3=b 4=a",
    "colons": OWN.replace("=", ": "),
    "spaces": OWN.replace("=", " = "),
    "arrows": OWN.replace("=", "->"),
    "bold words": " ".join(f"**{word}**" for word in OWN.split()),
    "named vertices": "Vertex 0: a Vertex 1: b Vertex 2: a Vertex 3: b Vertex 4: a",
    "assigned colors": "\n".join(f"Vertex {v} is assigned color {c}." for v, c in COLORS.items()),
    "gets colors": "\n".join(f"Vertex {v} gets color {c}." for v, c in COLORS.items()),
    "color and a letter, JSON": '["color a", "color b", "Color A", "Color B", "color a"]',
}
NUMBERED = {0: "1", 1: "2", 2: "1", 3: "2", 4: "1"}
NUMBERS_READ = {
    "JSON": '{"0": 1, "1": 2, "2": 1, "3": 2, "4": 1}',
    "JSON, strings": '{"0": "1", "1": "2", "2": "1", "3": "2", "4": "1"}',
    "JSON, inside": '{"coloring": {"v0": 1, "v1": 2, "v2": 1, "v3": 2, "v4": 1}}',
    "JSON, color": '{"0": "Color 1", "1": "Color 2", "2": "color 1", "3": "color 2", "4": "C1"}',
    "JSON list, color": '["Color 1", "Color 2", "Color 1", "Color 2", "Color 1"]',
    "python": "{0: 1, 1: 2, 2: 1, 3: 2, 4: 1}",
    "commas": "0: 1, 1: 2, 2: 1, 3: 2, 4: 1",
    "own words": "0=1 1=2 2=1 3=2 4=1",
    "twice": '0=1 1=2 2=1 3=2 4=1\n{"0": 1, "1": 2, "2": 1, "3": 2, "4": 1}',
    "intro": "Final coloring: 0=1, 1=2, 2=1, 3=2, and 4=1.",
    "color": "\n".join(f"- Vertex {v}: Color {c}" for v, c in NUMBERED.items()),
    "bold": "\n".join(f"* **Vertex {v}:** Color {c}" for v, c in NUMBERED.items()),
    "arrows and color": "\n".join(f"{v} -> color {c}" for v, c in NUMBERED.items()),
    "sentences": "\n".join(f"Vertex {v} is colored {c}." for v, c in NUMBERED.items()),
    "assigned": "\n".join(f"Node {v} is assigned color {c}." for v, c in NUMBERED.items()),
    "functions": "color(0) = 1, color(1)=2, c(2) = 1, c(3)=2, color(4) = 1",
    "table": "| Vertex | Color |\n|---|---|\n"
    + "\n".join(f"| {v} | {c} |" for v, c in NUMBERED.items()),
    "with a number": "0: 1, 1: 2, 2: 1, 3: 2, 4: 1\nNumber of colors: 2",
}
COLORS_REFUSED = {
    "nothing": ("", "no_coloring"),
    "how many": ("The chromatic number is 2.", "no_coloring"),
    "by color": ("Color a: 0, 2, 4\nColor b: 1, 3", "no_coloring"),
    "several at once": ("0,2,4: a\n1,3: b", "color"),
    "by color, JSON": ('{"a": [0, 2, 4], "b": [1, 3]}', "color"),
    "classes": ("[[0, 2, 4], [1, 3]]", "color"),
    "numbers": ("[0, 1, 0, 1, 0]", "color"),
    "a graph": ('{"v": 5, "c": 2}', "color"),
    "changed": ("0: a, 1: b\n0: b", "two_colors"),
    "changed, JSON": ('{"0": "a"} no, {"0": "b"}', "two_colors"),
    "a sentence": ("We try 0: a since it is free", "prose"),
    "several at once, numbers": ("0,2,4: 1\n1,3: 2", "color"),
    "by color, numbers": ("Color 1: 0, 2, 4\nColor 2: 1, 3", "no_coloring"),
    "by color, numbers alone": ("1: 0, 2, 4\n2: 1, 3", "color"),
    "by color, one each, JSON": ('{"color 1": 0, "color 2": 1}', "color"),
    "by color, many, JSON": ('{"1": [0, 2, 4], "2": [1, 3]}', "color"),
    "mixed, JSON": ('{"0": "a", "1": 2}', "color"),
    "numbers beside letters, JSON": ('0=a 1=b {"0": 1, "1": 2}', "color"),
    "numbers, changed": ("0: 1, 1: 2\n0: 2", "two_colors"),
    "numbers in a sentence": ("0: 1, 1: 2\nWe try 2: 1 since it is free", "prose"),
    "counts": ('{"degree0": 2, "degree1": 3}', "color"),
    "directed edges": ("0->1, 1->2", "no_coloring"),
    "a table of edges": ("| from | to |\n|---|---|\n| 0 | 1 |\n| 1 | 2 |", "no_coloring"),
    "own words in a sentence": ("I take 0=a 1=b", "prose"),
    "own words with more": ("0=a 1=b done", "prose"),
    "own words, changed": ("0=a 1=b 0=b", "two_colors"),
    "adjacent": ("Vertex 0 is adjacent\nVertex 1 is free", "no_coloring"),
    "neighbours": ("0: neighbors 1, 3", "no_coloring"),
    "far too much": ("0: a, " * 30_000, "too_long"),
}
