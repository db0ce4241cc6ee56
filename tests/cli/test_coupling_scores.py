"""`percbal coupling --score`: rollouts that were saved as texts are judged by their labels."""

from __future__ import annotations

import json

import pytest
import torch
from test_coupling_cli import call

from percbal.responses.formats import make_format

GRAPH = {"v": 3, "c": 2, "edges": [[0, 1], [1, 2]]}
RIGHT, WRONG = {"0": "a", "1": "b", "2": "a"}, {"0": "a", "1": "a", "2": "b"}


def marks(n=64):
    """(perception, answer) of each rollout, right or wrong."""
    g = torch.Generator().manual_seed(0)
    seen = torch.rand(n, generator=g) < 0.6
    said = torch.rand(n, generator=g) < torch.where(seen, 0.7, 0.2)
    return list(zip(seen.tolist(), said.tolist(), strict=True))


def report(path, rows, *options):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call(path, "--json", f"{path}.json", *options) == 0
    found = json.loads((path.parent / f"{path.name}.json").read_text())
    return {name: found[name] for name in ("rollouts", "perception", "signal")}, found


def numbers(tmp_path):
    rows = [
        {"group": i // 8, "outcome": said, "perception": seen}
        for i, (seen, said) in enumerate(marks())
    ]
    return report(tmp_path / "numbers.jsonl", rows)[0]


@pytest.mark.parametrize(
    "spec, options",
    [
        ("tags", []),
        ("json", ["--response-format", "json"]),
        ("fence:text", ["--response-format", "fence:text"]),
    ],
)
def test_completions_are_read_in_their_format_and_compared_with_labels(spec, options, tmp_path):
    written = make_format(spec)
    rows = [
        {
            "group": i // 8,
            "completion": written.write("a b" if seen else "b", "so", "4" if said else "5"),
            "perception": "a b",
            "answer": "4",
        }
        for i, (seen, said) in enumerate(marks())
    ]
    found, _ = report(tmp_path / "texts.jsonl", rows, "--score", *options)
    assert found == numbers(tmp_path)
    if spec != "tags":  # by another format none can be read
        path = tmp_path / "texts.jsonl"
        _, found = report(path, rows, "--score")
        assert found["perception"]["pooled"]["r"] == [None]


def test_texts_and_labels_without_numbers_are_scored_unasked(tmp_path, capsys):
    written = make_format("json")
    rows = [
        {
            "group": i // 8,
            "completion": written.write("a b" if seen else "b", "so", "4" if said else "5"),
            "perception": "a b",
            "answer": "4",
        }
        for i, (seen, said) in enumerate(marks())
    ]
    found, _ = report(tmp_path / "texts.jsonl", rows, "--response-format", "json")
    assert found == numbers(tmp_path)
    assert "there is no column 'outcome': completions are scored" in capsys.readouterr().err


def test_rollouts_of_the_papers_rows_are_judged_by_their_constraints(tmp_path):
    """Also for what a rollout itself perceived; messages as TRL saves them."""
    written = make_format("paper:coloring")
    rows = [
        {
            "group": i // 8,
            "completion": [
                {
                    "role": "assistant",
                    "content": written.write(
                        "[[0, 1], [1, 2]]" if seen else "[[0, 1]]",
                        "so",
                        json.dumps(RIGHT if said else WRONG),
                    ),
                }
            ],
            "ground_truth": json.dumps(GRAPH),
        }
        for i, (seen, said) in enumerate(marks())
    ]
    options = ["--score", "--response-format", "paper:coloring"]
    found, whole = report(tmp_path / "paper.jsonl", rows, *options)
    assert found == numbers(tmp_path)
    assert whole["reasoning"]["pooled"]["r"] == pytest.approx([1.0])  # right for what it saw


@pytest.mark.parametrize(
    "row, why",
    [
        ({"completion": "x"}, "it has no true perception"),
        ({"completion": "x", "perception": 1.0}, "perception is a number"),
        ({"completion": "x", "perception": "a"}, "it has no answer"),
        ({"perception": "a", "answer": "b"}, "no column 'completion'"),
        ({"completion": "x", "ground_truth": "[1, 2]"}, "ground_truth must be 81 numbers"),
    ],
)
def test_a_rollout_without_text_or_labels_is_named(row, why, tmp_path, capsys):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"group": 1} | row))
    assert call(path, "--score") == 2
    said = capsys.readouterr().err
    assert "no usable rollout" in said and f"bad.jsonl:1: {why}" in said


def test_a_format_without_scoring_is_refused(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"group": 1, "outcome": 1, "perception": 1}))
    assert call(path, "--response-format", "json") == 2
    assert "only --score reads completions" in capsys.readouterr().err
    assert call(path, "--score", "--response-format", "yaml") == 2
    assert "unknown response format 'yaml'" in capsys.readouterr().err
