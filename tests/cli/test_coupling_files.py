"""`percbal coupling` on files as they come: which rows count, which groups they form."""

from __future__ import annotations

import codecs
import json

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from test_coupling_cli import call, rows

ROWS = [{k: v for k, v in row.items() if k != "group"} for row in rows(64)]
LINES = [json.dumps(row).encode() for row in ROWS]


def write(path, lines, end=b"\n"):
    path.write_bytes(b"\n".join(lines) + end)
    return path


def measure(path, out, *options, size=8):
    """Its report with groups of ``size`` rows, or None for exit status 2."""
    status = call(path, "--group-size", size, *options, "--json", out)
    report = json.loads(out.read_text()) if status == 0 else None
    out.unlink(missing_ok=True)
    return report


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 64), st.sampled_from([b"", b"  ", b"\r"]))))
def test_blank_lines_are_no_rows(tmp_path_factory, blanks):
    folder = tmp_path_factory.mktemp("rollouts")
    plain = measure(write(folder / "plain.jsonl", LINES), folder / "out.json")
    lines = list(LINES)
    for at, blank in sorted(blanks, reverse=True):
        lines.insert(at, blank)
    assert measure(write(folder / "spaced.jsonl", lines), folder / "out.json") == plain
    assert plain["signal"]["groups"] == [8] and plain["rollouts"] == 64


def test_a_row_that_is_readable_and_unusable_keeps_its_place(tmp_path):
    lines = [*LINES[:3], b'{"outcome": "yes", "perception": 1}', *LINES[4:]]
    report = measure(write(tmp_path / "rollouts.jsonl", lines), tmp_path / "out.json")
    assert report["rollouts"] == 63 and report["signal"]["groups"] == [8]


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff", b'{"outcome": 1, "outcome": 0}'])
def test_groups_are_not_counted_across_a_line_that_is_no_row(tmp_path, capsys, line):
    path = write(tmp_path / "rollouts.jsonl", [*LINES[:5], line, *LINES[5:]])
    assert measure(path, tmp_path / "out.json") is None
    assert f"{path}:6 cannot be read, so --group-size cannot tell" in capsys.readouterr().err
    cut = write(tmp_path / "cut.jsonl", [*LINES, line], end=b"")  # no row comes after it
    report = measure(cut, tmp_path / "out.json")
    assert report["rollouts"] == 64 and report["bad_rows"][0].startswith(f"{cut}:65: ")


def test_a_byte_order_mark_costs_no_row(tmp_path):
    path = write(tmp_path / "rollouts.jsonl", [codecs.BOM_UTF8 + LINES[0], *LINES[1:]])
    assert measure(path, tmp_path / "out.json")["rollouts"] == 64


UNREADABLE = {
    "cut": (LINES[0][:20], "not JSON"),
    "digits": (b'{"outcome": ' + b"9" * 5000 + b"}", "not JSON (Exceeds the limit"),
    "nested": (b"[" * 10**5, "not JSON (nested too deeply)"),
    "bytes": (b'{"outcome": "\xe9"}', "not UTF-8 (invalid continuation byte at byte 13)"),
    "twice": (b'{"outcome": 1, "outcome": 0}', "the key 'outcome' is there twice"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_line_costs_itself_alone(tmp_path, capsys, kind):
    line, why = UNREADABLE[kind]
    grouped = [json.dumps({"group": i // 8, **row}).encode() for i, row in enumerate(ROWS)]
    path = write(tmp_path / "rollouts.jsonl", [*grouped[:9], line, *grouped[9:]])
    assert call(path, "--json", tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text())["rollouts"] == 64
    assert f"{path}:10: {why}" in capsys.readouterr().err


def two_columns(path):
    table = pyarrow.table([[1.0], [0.0], [1.0]], names=["outcome", "outcome", "perception"])
    parquet.write_table(table, path)


FILES = {
    "empty.parquet": (lambda path: path.write_bytes(b""), "is not a Parquet file"),
    "cut.parquet": (lambda path: path.write_bytes(b"PAR1 and no more"), "is not a Parquet file"),
    "twice.parquet": (two_columns, "has two columns 'outcome'"),
    "wide.jsonl": (lambda path: path.write_bytes("{}".encode("utf-16")), "is UTF-16"),
    "wider.jsonl": (lambda path: path.write_bytes("{}".encode("utf-16-be")), "is no text"),
    "packed.jsonl": (lambda path: path.write_bytes(b"\x1f\x8b\x08"), "is compressed"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_unreadable_file_costs_itself_alone(tmp_path, capsys, name):
    make, why = FILES[name]
    make(tmp_path / name)
    good = write(tmp_path / "rollouts.jsonl", LINES)
    options = ("--group-size", 8, "--json", tmp_path / "out.json")
    assert call(tmp_path / name, good, *options) == 0
    assert json.loads((tmp_path / "out.json").read_text())["rollouts"] == 64
    assert f"{tmp_path / name}: {why}" in capsys.readouterr().err
    assert call(tmp_path / name) == 2, "alone there is no rollout"
    assert why in capsys.readouterr().err


def test_an_empty_table_and_an_empty_file_hold_no_rollouts_and_are_no_fault(tmp_path, capsys):
    parquet.write_table(pyarrow.Table.from_pylist(ROWS)[:0], tmp_path / "none.parquet")
    (tmp_path / "none.jsonl").touch()
    good = write(tmp_path / "rollouts.jsonl", LINES)
    assert call(tmp_path / "none.parquet", tmp_path / "none.jsonl", good, "--group-size", 8) == 0
    assert "bad rows" not in capsys.readouterr().err


def test_what_is_named_twice_is_said(tmp_path, capsys):
    path = write(tmp_path / "rollouts.jsonl", LINES)
    assert call(path, path, "--group-size", 8) == 2
    assert f"{path} is given twice" in capsys.readouterr().err
    assert call(path, "--group-size", 8, "--outcome", "format", "--outcome", "format") == 2
    assert "--outcome names 'format' twice" in capsys.readouterr().err
