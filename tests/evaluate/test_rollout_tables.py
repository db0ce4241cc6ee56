"""Rollouts read a block at a time are what they are read row by row, and so is every refusal."""

from __future__ import annotations

import datetime
import json

import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from percbal.evaluate import rollout_files
from percbal.evaluate.rollout_files import Columns, read_rollouts

ROW = {"group": "a", "outcome": 1, "perception": 0.5, "reasoning": None, "note": "b c"}
GOOD = json.dumps(ROW)


def outcome(path, columns):
    """Everything that a user sees."""
    try:
        table = read_rollouts([path], columns)
    except ValueError as problem:
        return str(problem)
    numbers = torch.column_stack([table.outcomes, table.perception, table.reasoning])
    return numbers.nan_to_num(-1).tolist(), table.group.tolist(), table.bad_rows


def both(path, columns, monkeypatch):
    """By blocks, and row by row."""
    fast = outcome(path, columns)
    with monkeypatch.context() as patched:
        patched.setattr(rollout_files._Rollouts, "add_block", lambda *_: False)
        return fast, outcome(path, columns)


def columns(**options):
    return Columns(["outcome"], "perception", "reasoning", **{"group": None, **options})


def changed(**values):
    return json.dumps(ROW | values)


LINES = {
    "no key": '{"group": "a", "outcome": 1, "perception": 1}',
    "no group": '{"outcome": 1, "perception": 1, "reasoning": 1}',
    "twice": '{"group": 1, "outcome": 1, "perception": 1, "reasoning": 1, "note": 1, "note": 1}',
    "twice inside": GOOD[:-1] + ', "n": {"a": 1, "a": 1}}',
    "two": GOOD + GOOD,
    "two, apart": GOOD + " " + GOOD,
    "over two lines": GOOD.replace(", ", ",\n", 1),
    "one and a half": GOOD + GOOD.replace(", ", ",\n", 1),
    "behind": GOOD + " x",
    "comma": GOOD + ",",
    "indented": " " + GOOD,
    "vertical tab": GOOD + "\x0b",
    "return": GOOD + "\r",
    "blank": "",
    "blanks": "  \t",
    "list": "[1]",
    "infinite": changed(outcome=float("inf")),
    "infinite elsewhere": changed(other=float("-inf")),
    "infinite inside": changed(other=[{"a": float("inf")}]),
    "Inf": changed(other=7).replace("7", "Inf"),
    "Inf inside": changed(other=[{"a": 7}]).replace("7", "Inf"),
    "-NaN": changed(other=7).replace("7", "-NaN"),
    "NaN": changed(outcome=float("nan")),
    "digits": changed(other=7).replace("7", "7" * 5000),
    "large": changed(outcome=10**20),
    "exact": changed(outcome=2**53 + 1),
    "too large": changed(outcome=7).replace("7", "7" * 400),
    "text": changed(outcome="yes"),
    "true": changed(outcome=True),
    "object": changed(perception={"a": 1}),
    "deep": changed(other=7).replace("7", "[" * 300 + "]" * 300),
    "too deep": changed(other=7).replace("7", "[" * 10**5 + "]" * 10**5),
    "surrogate": changed(note="\ud800"),
    "escape": changed(note="\x00"),
    "escaped key": changed().replace("reasoning", "re\\u0061soning"),
    "key inside": '{"group": "a", "outcome": 1, "perception": 1, "n": {"reasoning": null}}',
    "the end of another key": '{"group": "a", "outcome": 1, "perception": 1, "x\\"reasoning":1}',
    "a colon apart": changed().replace('reasoning":', 'reasoning" :'),
    "begun": '{"group":',
    "ended": "{}}",
    "number for a group": changed(group=1),
    "1.0 for a group": changed(group=1.0),
    "null for a group": changed(group=None),
    "list for a group": changed(group=[1, 2]),
    "1 and 1.0 for groups": changed(group=1) + "\n" + changed(group=1.0),
    "a date twice": changed(group="2020-01-01") + "\n" + changed(group="2020-01-01 00:00:00"),
    "step": '{"step": 1, "outcome": 1, "perception": 1, "reasoning": 1}',
}
RAW = {"bytes": GOOD.encode().replace(b"b c", b"b\xff"), "mark": b"\xef\xbb\xbf" + GOOD.encode()}
ALL = {name: line.encode("utf-8", "surrogatepass") for name, line in LINES.items()} | RAW


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("options", [{}, {"group_size": 2}, {"group": ["note", "group"]}], ids=str)
@pytest.mark.parametrize("before", [GOOD, None], ids=["among others", "alone"])
def test_an_odd_line_is_read_as_row_by_row(tmp_path, monkeypatch, name, options, before):
    path = tmp_path / "rollouts.jsonl"
    others = [changed(group=g).encode() for g in ("a", "b", "a")] if before else []
    for end in (b"", b"\n"):
        path.write_bytes(b"\n".join([*others, ALL[name], *others, ALL[name]]) + end)
        fast, careful = both(path, columns(**options), monkeypatch)
        assert fast == careful


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just("2020-01-01")
)
any_row = st.dictionaries(st.sampled_from([*ROW, "step", "prompt"]), values, max_size=7)
usual_row = st.fixed_dictionaries(
    {"group": st.sampled_from("ab"), "outcome": st.booleans(), "perception": st.floats(0, 1)},
    optional={"reasoning": st.none() | st.integers(0, 1)},
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(usual_row, min_size=1, max_size=9), st.lists(any_row, max_size=1), st.integers(0, 9)
)
def test_any_rows_are_read_as_row_by_row(tmp_path_factory, rows, odd, at):
    folder = tmp_path_factory.mktemp("rollouts")
    rows[at:at] = odd
    path = folder / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patched:
        fast, careful = both(path, columns(), patched)
    assert fast == careful


@pytest.mark.parametrize("size", [1, 200])
def test_lines_and_groups_are_counted_across_blocks(tmp_path, monkeypatch, size):
    rows = [changed(group=f"g {i // 3}", outcome=i % 2) for i in range(60)]
    path = tmp_path / "rollouts.jsonl"
    for bad in (False, True):
        rows[31] = "{" if bad else rows[31]
        path.write_text("\n".join(rows))
        for options in ({}, {"group_size": 7}):
            whole = outcome(path, columns(**options))
            with monkeypatch.context() as patched:
                patched.setattr(rollout_files, "BLOCK", size)
                fast, careful = both(path, columns(**options), monkeypatch)
            assert fast == careful == whole


def test_a_bad_line_costs_its_block_alone(tmp_path, monkeypatch):
    path = tmp_path / "rollouts.jsonl"
    path.write_text("\n".join([*[GOOD] * 31, "{", *[GOOD] * 28]))
    parsed = []
    monkeypatch.setattr(rollout_files, "json_object", lambda line: parsed.append(line) or ROW)
    monkeypatch.setattr(rollout_files, "BLOCK", 200)
    outcome(path, columns())
    assert b"{\n" in parsed and len(parsed) < 6


KINDS = {
    "nulls": changed(reasoning=None),
    "texts": json.dumps(ROW | {"note": "é", "prompt": [{"role": "user", "content": "x: {[y]}"}]}),
    "whole numbers": changed(group=7, outcome=True, perception=1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_usual_rows_are_not_read_one_by_one(tmp_path, monkeypatch, kind):
    path = tmp_path / "rollouts.jsonl"
    path.write_text(f"{KINDS[kind]}\n" * 5)
    monkeypatch.setattr(rollout_files, "json_object", lambda line: pytest.fail(f"{line!r}"))
    numbers, group, bad = outcome(path, columns())
    assert len(numbers) == 5 and group == [0] * 5 and not bad


CELLS = {
    "outcome": [
        "yes",
        [1],
        datetime.date(2020, 1, 1),
        float("inf"),
        float("nan"),
        2**60,
        None,
        True,
    ],
    "group": [1.0, float("nan"), [1, 2], {"a": 1}, datetime.date(2020, 1, 1), b"a", None, True],
}


@pytest.mark.parametrize("name, value", [(n, v) for n, vs in CELLS.items() for v in vs], ids=str)
def test_a_column_of_any_kind_is_read_as_row_by_row(tmp_path, monkeypatch, name, value):
    path = tmp_path / "rollouts.parquet"
    rows = [ROW | {name: value}, ROW | {name: value}, ROW | {name: None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    for options in ({}, {"group_size": 2}, {"group": ["note", "group"]}):
        fast, careful = both(path, columns(**options), monkeypatch)
        assert fast == careful


def test_a_table_without_a_column_says_so_for_each_row(tmp_path, monkeypatch):
    path = tmp_path / "rollouts.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"group": 1, "outcome": 1}] * 2), path)
    fast, careful = both(path, columns(), monkeypatch)
    assert fast == careful and "no column 'perception'" in fast
