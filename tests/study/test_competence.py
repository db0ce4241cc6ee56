"""Facts about stop rules: a start reaches its competence in so many steps, or it has failed."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import pytest

from percbal.study.competence import Competence, Outcome, Stopped
from percbal.study.recipes import REACHED, Arm, Stop, hashed


class Fake(Competence):
    """Measures what it is given."""

    def __init__(self, stop: Stop, *figures: float, path: Path | None = None) -> None:
        self.stop, self.figures = stop, iter(figures)
        self.path = path or Path(mkdtemp()) / "measured.json"
        self.outcome = Outcome("the steps ran out")

    def measure(self, model):
        return dict.fromkeys(self.stop.bands(), next(self.figures))


def trained(rule: Competence, steps: int) -> Outcome:
    control = SimpleNamespace(should_training_stop=False)
    for step in range(1, steps + 1):
        state = SimpleNamespace(global_step=step, max_steps=steps)
        rule.on_step_end(None, state, control, model=None)
        if control.should_training_stop:
            break
    return rule.outcome


def test_a_start_is_measured_at_its_pauses_and_stops_inside_the_band():
    outcome = trained(Fake(Stop(exact_p=(0.1, 0.25), every=10), 0.0, 0.05, 0.12, 0.9), 100)
    assert outcome.reached and outcome.steps == 30
    assert [pause["step"] for pause in outcome.measured] == [10, 20, 30]


@pytest.mark.parametrize(
    "figures, least, verdict",
    [
        ((0.0, 0.3), 0, "exact_p went to 0.300, above 0.25"),
        ((0.2,), 20, "competent after 10 steps, before 20"),
        ((0.0, 0.05, 0.09), 0, "the steps ran out"),
    ],
)
def test_a_start_that_misses_its_competence_has_failed(figures, least, verdict):
    rule = Fake(Stop(exact_p=(0.1, 0.25), every=10, least=least), *figures)
    outcome = trained(rule, 25)
    assert not outcome.reached and outcome.verdict == verdict


def test_the_last_step_is_measured_too():
    assert trained(Fake(Stop(exact_p=(0.1, 0.25), every=10), 0.0, 0.0, 0.2), 25).reached


@pytest.mark.parametrize("kept", [True, False])
def test_a_training_killed_just_after_its_stop_does_not_go_on(tmp_path, kept):
    stop, path = Stop(exact_p=(0.1, 0.25), every=10), tmp_path / "measured.json"
    first = trained(Fake(stop, 0.0, 0.12, path=path), 100)
    assert first.steps == 20
    if not kept:
        path.unlink()
    again = Fake(stop, *(() if kept else (0.12,)), path=path)
    state = SimpleNamespace(global_step=20, max_steps=100)
    with pytest.raises(Stopped):
        again.on_train_begin(None, state, None, model=None)
    assert again.outcome.reached and again.outcome.steps == 20
    assert again.outcome.measured == (first.measured if kept else first.measured[1:])


def test_what_was_measured_before_an_interruption_is_kept(tmp_path):
    stop, path = Stop(exact_p=(0.1, 0.25), every=10), tmp_path / "measured.json"
    trained(Fake(stop, 0.0, 0.01, 0.02, 0.02, path=path), 35)
    again = Fake(stop, 0.02, path=path)
    again.on_train_begin(None, SimpleNamespace(global_step=20, max_steps=100), None, model=None)
    again.on_step_end(None, SimpleNamespace(global_step=30, max_steps=100), None, model=None)
    assert [pause["step"] for pause in again.outcome.measured] == [10, 20, 30]


def test_both_figures_must_be_in_their_bands():
    stop = Stop(exact_p=(0.1, 0.3), sampled_r=(0.5, 0.7))
    assert stop.verdict({"exact_p": 0.2, "sampled_r": 0.4}, 1) is None
    assert stop.verdict({"exact_p": 0.2, "sampled_r": 0.6}, 1) == REACHED
    assert "sampled_r went to 0.900" in stop.verdict({"exact_p": 0.2, "sampled_r": 0.9}, 1)


@pytest.mark.parametrize(
    "options, sentence",
    [({}, "needs exact_p or sampled_r"), ({"exact_p": (0.3, 0.1)}, "must be .low, high. in")],
)
def test_a_rule_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Stop(**options)


def test_settings_that_say_nothing_are_not_in_a_hash():
    """Else a further field with an empty default would change the hash of every old run."""
    told = {"name": "x", "kind": "sft", "options": {"lam": 0.0}}
    assert hashed(Arm("x", options={"lam": 0.0})) == told
