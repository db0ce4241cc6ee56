"""Facts about ``percbal diagnose --out`` and ``--samples``: interruptions, and what is drawn."""

from __future__ import annotations

import errno
import json
import os
import re

import pytest

from percbal.cli.main import main
from percbal.evaluate import exact
from percbal.evaluate.generation import LocalModel
from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task
from percbal.tasks.sudoku import Sudoku

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
SHORT = ["--n", "3", "--max-new-tokens", "3", "--batch-size", "2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    build_tiny_vlm(path, get_task("sudoku").vocabulary(), **SIZES)
    return path


def diagnose(model, out, *options):
    main(["diagnose", str(model), *SHORT, "--out", str(out), *options])
    return json.loads(out.read_text())


@pytest.fixture
def stopped(monkeypatch):
    """Ctrl-C at the third batch."""
    asked, answer = [], LocalModel.__call__

    def call(self, questions, *, told):
        asked.append(told)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer(self, questions, told=told)

    monkeypatch.setattr(LocalModel, "__call__", call)
    return asked


@pytest.mark.parametrize("options", [[], ["--samples", "2", "--ways", "image", "--top-p", "0.9"]])
def test_ctrl_c_and_again_gives_the_same_result(options, model, stopped, tmp_path, capsys):
    out = tmp_path / "again.json"
    with pytest.raises(SystemExit) as end:
        diagnose(model, out, *options)
    kept = tmp_path / "again.answers.jsonl"
    assert end.value.code == 130 and f"answers are kept in {kept}" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        diagnose(model, out, *options, "--max-new-tokens", "4")
    said = capsys.readouterr().err
    assert end.value.code == 2 and "has answers of another diagnosis (options" in said
    again = diagnose(model, out, *options)
    assert not kept.exists() and again == diagnose(model, tmp_path / "at_once.json", *options)


def test_probabilities_are_kept_one_by_one(model, tmp_path, monkeypatch, capsys):
    """Ctrl-C at the third of them: the first two are not computed again."""
    computed, compute = [], exact._probability

    def probability(model, processor, question):
        computed.append(question.index)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return compute(model, processor, question)

    monkeypatch.setattr(exact, "_probability", probability)
    options = ["--exact", "--ways", "image"]
    with pytest.raises(SystemExit):
        diagnose(model, tmp_path / "again.json", *options)
    again = diagnose(model, tmp_path / "again.json", *options)
    assert computed == [0, 1, 2, 2] and "exact" in capsys.readouterr().err
    assert again == diagnose(model, tmp_path / "at_once.json", *options)
    assert 0 < again["records"][1]["a_p_exact"] < 1


def test_a_result_may_stand_beside_the_weights(model, stopped):
    out = model / "diagnosis.json"
    with pytest.raises(SystemExit):
        diagnose(model, out)
    assert diagnose(model, out)["n"] == 3


def test_another_checkpoint_in_the_same_folder_is_refused(model, stopped, tmp_path, capsys):
    out = tmp_path / "out.json"
    with pytest.raises(SystemExit):
        diagnose(model, out)
    weights = model / "model.safetensors"
    time = weights.stat().st_mtime_ns
    try:
        os.utime(weights, ns=(time, time + 1))
        with pytest.raises(SystemExit):
            diagnose(model, out)
    finally:
        os.utime(weights, ns=(time, time))
    assert "has answers of another diagnosis (files " in capsys.readouterr().err
    assert diagnose(model, out)["n"] == 3


def test_the_seed_says_which_samples_are_drawn(model, tmp_path, capsys):
    options = "--samples", "3", "--ways", "image"
    ours, same = (diagnose(model, tmp_path / f"{i}.json", *options) for i in range(2))
    other = diagnose(model, tmp_path / "other.json", *options, "--seed", "1")
    assert "pass@3" in capsys.readouterr().out and ours == same
    assert ours["options"]["temperature"] == 1.0 and [*ours["pass_at_k"]["a"]] == ["1", "2", "3"]
    trials = [[each["completion"] for each in (r, *r["further"])] for r in ours["records"]]
    assert len({*trials[0]}) == 3  # they differ
    assert trials[0] != [
        each["completion"] for each in (other["records"][0], *other["records"][0]["further"])
    ]


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--samples", "0"], "samples must be at least 1, got 0"),
        (["--samples", "2", "--temperature", "0"], "all 2 samples would be the same"),
        (["--temperature", "-1"], "temperature must be 0 or more, got -1.0"),
        (["--top-p", "0.5"], "top_p draws nothing at temperature 0"),
        (["--temperature", "1", "--top-p", "1.5"], r"top_p must be in \(0, 1\]"),
        (["--out", "/nowhere/x.json"], "--out: there is no directory /nowhere"),
        (["--out", "/tmp"], "--out: /tmp is a directory"),
    ],
)
def test_impossible_options_are_one_sentence(options, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        main(["diagnose", "/nowhere", *options])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.count("\n") == 1
    assert re.search(sentence, said)


@pytest.mark.parametrize("words", [["report", "no.json", "--out"], ["diagnose", "--write-prompts"]])
def test_other_files_that_cannot_be_written_are_said_first(words, capsys, monkeypatch):
    """There is no result to read, and no instance is made."""
    monkeypatch.setattr(Sudoku, "generate", None)
    with pytest.raises(SystemExit) as end:
        main([*words, "/nowhere/x"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said == f"percbal {words[0]}: {words[-1]}: there is no directory /nowhere\n"


def test_a_full_disk_at_the_end_leaves_the_old_result_and_the_answers(
    model, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out.json"
    before = diagnose(model, out)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(os, "fsync", full)
        diagnose(model, out)
    assert end.value.code == 2
    assert (
        f"percbal diagnose: cannot write {out}: No space left on device" in capsys.readouterr().err
    )
    assert json.loads(out.read_text()) == before
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"out.json", "out.answers.jsonl"}
