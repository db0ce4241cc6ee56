"""Facts about the table of an RL study: it shows the runs that are there, against their start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from percbal.evaluate.intervals import t_interval
from percbal.evaluate.sampled import Evaluation
from percbal.study.arm import write_json
from percbal.study.rl_arm import arm_directory, signals
from percbal.study.rl_limits import limits, outcome_left
from percbal.study.rl_presets import RL_PRESETS
from percbal.study.rl_results import RLResults, collect
from percbal.study.rl_runner import write_results

STUDY = RL_PRESETS["rl-smoke"]
START = STUDY.starts.arms[0].name
DOCS = Path(__file__).parents[2] / "docs"


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


def test_one_seed_has_no_t_interval(tmp_path, results):
    save(tmp_path, "same perception 0", evaluation([[0.0, 1.0]] * 8, [[1.0, 1.0]] * 8))
    table = write_results(STUDY, tmp_path).table()
    assert "±" not in table and "same perception 0 minus outcome (1)" in table
    assert (tmp_path / "results.md").read_text().startswith(table)


# --- the committed studies ---------------------------------------------------------------------


@pytest.fixture(params=["rl", "rl_checks"])
def committed(request):
    return DOCS / "results" / f"{request.param}.json"


def test_what_is_read_is_what_was_written(committed):
    found = json.loads(json.dumps(RLResults.load(committed).to_dict()))
    assert found == json.loads(committed.read_text())


def test_the_documented_tables_are_those_of_the_committed_numbers(committed):
    results = RLResults.load(committed)
    text = (DOCS / "rl_study.md").read_text()
    assert results.table() in text
    for table in limits(RL_PRESETS[results.study], results).split("\n\n"):
        assert table in text


def test_differences_by_seed_have_the_mean_of_the_bootstrap():
    results = RLResults.load(DOCS / "results" / "rl.json")
    for pair in results.differences:
        for metric, interval in pair.sampled.items():
            over_seeds = results.over_seeds(pair, metric)
            assert over_seeds.value == pytest.approx(interval.value, abs=1e-12)


def test_no_arm_is_significantly_better_than_the_outcome_reward():
    """What docs/rl_study.md and README.md say first: by t over seeds, and fine-tuning apart."""
    results = RLResults.load(DOCS / "results" / "rl.json")
    for row in results.rows:
        if row.arm in ("start", "outcome"):
            continue
        gain = t_interval(results.by_seed(row.start, row.arm, "outcome", "a"))
        assert (gain.low > 0) == (row.arm == "SFT fixed 0.5"), row.arm


# --- dilution ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_dilution_is_the_weight_of_the_outcomes_z_in_that_of_the_mix(alpha):
    """Least squares of z(mix) on z(a) and z(p) over rollouts."""
    rng = np.random.default_rng(0)
    p = (rng.random(4000) < 0.4).astype(float)
    a = p * (rng.random(4000) < 0.7)
    z = [(x - x.mean()) / x.std() for x in (a, p, alpha * p + (1 - alpha) * a)]
    weights = np.linalg.lstsq(np.stack(z[:2], 1), z[2], rcond=None)[0]
    left = outcome_left(alpha, a.std(), p.std(), np.corrcoef(a, p)[0, 1])
    assert left == pytest.approx(weights[0], abs=1e-9)


def test_dilution_by_hand():
    assert outcome_left(0.5, 1.0, 1.0, 0.0) == pytest.approx(0.5**0.5)
    assert outcome_left(0.5, 1.0, 1.0, 1.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="the mixed reward does not vary"):
        outcome_left(0.5, 0.0, 0.0, 0.5)
