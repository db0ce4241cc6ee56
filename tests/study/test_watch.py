"""A reinforcement is measured on its way, and what would explain it is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from percbal.evaluate.questions import task_questions
from percbal.models.loading import load_vlm
from percbal.models.tiny import build_tiny_vlm
from percbal.responses.asking import Asking
from percbal.study import watch
from percbal.study.competence import mean_exact_p
from percbal.study.json_files import write_json
from percbal.study.lines import figures
from percbal.study.plan import Study
from percbal.study.presets import PRESETS
from percbal.study.watch import Watch
from percbal.tasks import get_task


def test_exact_perception_is_measured_after_the_named_updates_and_kept(tmp_path, monkeypatch):
    """Also what was measured before an interruption."""
    told = iter((0.25, 0.5, 0.75))
    monkeypatch.setattr(watch, "mean_exact_p", lambda model, processor, questions: next(told))

    def go(steps):
        callback = Watch((2, 4), [], None, tmp_path / "watched.json")
        for step in steps:
            callback.on_step_end(None, SimpleNamespace(global_step=step), None, model=None)
        return callback.found()

    assert go([1, 2, 3]) == {"2": 0.25}
    assert go([2, 3, 4, 5]) == {"2": 0.5, "4": 0.75}, "from an older checkpoint it is made anew"


def test_what_was_measured_behind_a_checkpoint_comes_again(tmp_path):
    """Else a training that ends earlier the second time would keep it."""
    watch = Watch([50, 100], [], None, tmp_path / "watched.json")
    write_json(watch.path, {"50": 0.25, "100": 0.5})
    watch.on_train_begin(None, SimpleNamespace(global_step=75), None)
    assert watch.found() == {"50": 0.25}


def test_a_training_goes_on_as_if_it_had_not_been_measured(tmp_path):
    task = get_task("sudoku", size=4)
    small = dict(hidden=16, layers=1, heads=2, mlp=32)
    build_tiny_vlm(tmp_path / "model", task.vocabulary(), seed=0, **small)
    model, processor = load_vlm(tmp_path / "model")
    model.train()
    before = torch.get_rng_state()
    found = mean_exact_p(model, processor, task_questions(task, 2, "test", 0, Asking()))
    assert 0 < found < 1e-6, "random weights"
    assert torch.equal(torch.get_rng_state(), before) and model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_a_line_has_what_was_measured_on_the_way():
    right = dict.fromkeys(("a", "a_p", "a_r"), "10")
    evaluation = {
        "right": {"new": {"greedy": right}},
        **{"samples": 0, "exact_p": [], "unreadable": 0, "coupling": {}, "signal": {}},
        "logged": {"entropy": [3.0, 2.0, 1.0]},
        "watched": {"50": 0.25},
    }
    found = figures(evaluation)
    assert found["exact_p_after.50"] == 0.25 and found["entropy.3"] == 1.0


@pytest.mark.parametrize("name", ["dose", "dose-smoke"])
def test_a_dose_study_survives_a_round_trip(name, tmp_path):
    PRESETS[name].save(tmp_path / "study.json")
    assert Study.load(tmp_path / "study.json") == PRESETS[name]


def test_an_arm_says_what_its_perception_tokens_are_paid_by():
    paid = {arm.name: arm.reward() for arm in PRESETS["dose"].arms}
    assert paid["truth"] == "perception" and paid["outcome"] == "outcome"
    assert paid["flipped 0.11"] == "flipped_perception" and paid["blind"] == "blind_reanswer"
    assert PRESETS["sft-sudoku"].arms[0].reward() == ""
