"""Facts about the answers that a diagnosis keeps: what an interruption, or a full disk, costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from answerers import Oracle, by, diagnosed, questions

from percbal.evaluate.answer_file import AnswerFile
from percbal.evaluate.generation import Completion

HEADER = {"model": "m", "source": {"task": "sudoku", "options": {"size": 4}}, "seed": 0}


class Stopped(Oracle):
    """By Ctrl-C, when it has answered so many batches."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __call__(self, batch, *, told):
        if len(self.asked) == self.batches:
            raise KeyboardInterrupt
        return super().__call__(batch, told=told)


def stopped(path, batches=3, **options):
    with pytest.raises(KeyboardInterrupt):
        diagnosed(Stopped(batches), kept=AnswerFile(path, HEADER), **options)


def resumed(path, **options):
    """The result, and how many batches were asked for it."""
    rest = Oracle()
    return diagnosed(rest, kept=AnswerFile(path, HEADER), **options), len(rest.asked)


def test_an_interrupted_diagnosis_goes_on_and_has_the_same_result(tmp_path):
    """Six questions in batches of four and two, three ways each."""
    path = tmp_path / "answers.jsonl"
    stopped(path)
    assert len(path.read_text().splitlines()) == 1 + 3 * 4
    result, asked = resumed(path)
    assert asked == 3 and result.to_dict() == diagnosed(Oracle()).to_dict()
    assert resumed(path)[1] == 0


def test_so_does_one_that_was_killed(tmp_path):
    here = Path(__file__).parent
    path = tmp_path / "answers.jsonl"
    program = [sys.executable, here / "killed_diagnosis.py", path]
    assert subprocess.run(program, env={**os.environ}).returncode == -signal.SIGKILL
    rest = Oracle()
    result = diagnosed(rest, kept=AnswerFile(path, {"model": "m"}))
    assert len(rest.asked) == 3 and result.to_dict() == diagnosed(Oracle()).to_dict()


def test_samples_and_ways_are_kept_apart(tmp_path):
    path = tmp_path / "answers.jsonl"
    options = {"n": 2, "samples": 3, "batch_size": 2}
    answers = by(lambda q, way: f"{q.index} {q.sample} {way}")
    diagnosed(answers, kept=AnswerFile(path, HEADER), **options)
    result, asked = resumed(path, **options)
    assert asked == 0
    trial = result.records[1].trials[2]
    assert (trial.completion, trial.reasoned) == ("1 2 image", "1 2 told")
    assert trial.text_completion == "1 2 text"


@pytest.mark.parametrize("rest", ['{"index": 1, "sam', "", "\xff"])
def test_a_last_line_that_is_not_whole_is_dropped(rest, tmp_path):
    """And its batch is asked again, as a whole."""
    path = tmp_path / "answers.jsonl"
    stopped(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + rest)
    result, asked = resumed(path)
    assert asked == 4 and result.to_dict() == diagnosed(Oracle()).to_dict()


def test_a_header_that_is_not_whole_is_written_anew(tmp_path):
    path = tmp_path / "answers.jsonl"
    stopped(path)
    path.write_text(path.read_text()[:20])
    stopped(path)
    assert resumed(path)[1] == 3


def test_answers_of_another_diagnosis_are_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    stopped(path)
    with pytest.raises(ValueError, match=r"another diagnosis \(model m, not other; files None, n"):
        AnswerFile(path, HEADER | {"model": "other", "files": "new"})
    assert resumed(path)[1] == 3


@pytest.mark.parametrize("text", ["a file of somebody\n", '{"a": 1}\n', "no line", "[1]\n"])
def test_another_file_is_refused_and_left_alone(text, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="line 1 of .* is no answer of a diagnosis"):
        AnswerFile(path, HEADER)
    assert path.read_text() == text


def test_damage_in_the_middle_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    stopped(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], "?\n", *lines[3:]]))
    with pytest.raises(ValueError, match="line 4 of"):
        AnswerFile(path, HEADER)


def test_an_answer_to_a_row_that_has_changed_is_refused(tmp_path):
    path = tmp_path / "answers.jsonl"
    stopped(path)
    with pytest.raises(ValueError, match="has an answer to sudoku . as it was asked then"):
        resumed(path, questions=questions(6, seed=1))


def test_nothing_is_written_before_there_is_an_answer(tmp_path):
    AnswerFile(tmp_path / "answers.jsonl", HEADER).remove()
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_costs_one_batch(tmp_path, monkeypatch):
    path = tmp_path / "answers.jsonl"
    stopped(path)
    before = path.read_text()
    opened = Path.open

    def full(self, mode="r", **options):
        return opened(Path("/dev/full") if mode == "a" else self, mode, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left on device; the answers before are kept"):
        AnswerFile(path, HEADER).add(questions(1), "image", [Completion("x" * 99, False)])
    monkeypatch.undo()
    assert path.read_text() == before and resumed(path)[1] == 3
