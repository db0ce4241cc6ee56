"""Facts about the table of an RL study: it shows the runs that are there, against their start."""

from __future__ import annotations

import json

import pytest

from percbal.evaluate.sampled import Evaluation
from percbal.study.arm import write_json
from percbal.study.rl_arm import arm_directory, signals
from percbal.study.rl_presets import RL_PRESETS
from percbal.study.rl_results import collect

STUDY = RL_PRESETS["rl-smoke"]
START = STUDY.starts.arms[0].name


def evaluation(a: list[list[float]], p: list[list[float]], history=()) -> dict:
    """Half of it known puzzles, half new ones, in the order of the rows."""
    half = len(a) // 2
    parts = {}
    for name, rows in (("known", slice(half)), ("new", slice(half, None))):
        sampled = {"a": a[rows], "a_p": p[rows], "own": a[rows], "a_r": p[rows]}
        greedy = {metric: [row[0] for row in a[rows]] for metric in ("a", "a_p", "a_r")}
        parts[name] = Evaluation(sampled, greedy)
    return {
        **{name: part.right() for name, part in parts.items()},
        "samples": len(a[0]),
        "coupling": Evaluation.joined(*parts.values()).coupling(),
        "signal": signals(history),
        "seconds": {"train": 2.0},
    }


def save(root, arm, value):
    write_json(arm_directory(root, START, arm, STUDY.seeds[0]) / "evaluation.json", value)


@pytest.fixture
def results(tmp_path):
    wrong, right = [0.0, 0.0], [1.0, 1.0]
    save(tmp_path, "start", evaluation([wrong] * 6 + [right] * 2, [wrong] * 4 + [right] * 4))
    agreement = [{"coupling/r_group_agreement_perception": r} for r in (0.1, 0.2, 0.3)]
    history = [*agreement, {"train_runtime": 1.0}]
    after = evaluation([wrong] * 5 + [right] * 3, [wrong] * 4 + [right] * 4, history)
    save(tmp_path, "outcome", after)
    return collect(STUDY, tmp_path)


def test_arms_are_changes_against_their_start(results):
    start, outcome = results.rows
    assert start.sampled["a"].value == 0.25 and start.greedy["a"].value == 0.25
    assert outcome.sampled["a"].value == pytest.approx(0.125)
    assert outcome.sampled["a_p"].value == 0.0
    assert outcome.sampled["a"].low <= 0.125 <= outcome.sampled["a"].high
    assert outcome.by_seed["a"] == [pytest.approx(0.125)]


def test_known_and_new_puzzles_are_also_told_apart(results):
    start, outcome = results.rows
    assert start.a_p["known"].value == 0.0 and start.a_p["new"].value == 1.0
    assert outcome.a_p["known"].value == outcome.a_p["new"].value == 0.0


def test_arms_are_compared_over_the_seeds_that_both_have(tmp_path, results):
    assert results.differences == []  # the other arm of the pair is not there
    wrong, right = [0.0, 0.0], [1.0, 1.0]
    save(tmp_path, "same perception 0", evaluation([wrong] * 4 + [right] * 4, [right] * 8))
    (pair,) = collect(STUDY, tmp_path).differences
    assert (pair.arm, pair.minus, pair.seeds) == ("same perception 0", "outcome", [0])
    assert pair.sampled["a"].value == pytest.approx(0.125)
    assert pair.sampled["a_p"].value == pytest.approx(0.5)


def test_only_runs_that_are_there_have_rows(results):
    assert [row.arm for row in results.rows] == ["start", "outcome"]
    assert {row.start for row in results.rows} == {START}


def test_signals_are_followed_through_the_training(results):
    assert results.rows[1].signal == {"group_agreement": [0.1, 0.2, 0.3]}
    assert "| 0.10 0.20 0.30 |" in results.table()


def test_the_coupling_is_that_of_the_samples(results):
    # a within a_p: phi of (2, 4) of 8
    assert results.rows[0].coupling["pooled_perception"] == pytest.approx((1 / 3) ** 0.5)


def test_the_results_survive_json(results):
    assert json.loads(json.dumps(results.to_dict()))["rows"][0]["arm"] == "start"
