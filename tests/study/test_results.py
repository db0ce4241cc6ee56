"""Facts about the tables of a study: they show the runs that are there, and what is compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from percbal.evaluate.intervals import t_interval, wilson_interval
from percbal.evaluate.names import METRICS
from percbal.evaluate.sampled import coupling
from percbal.study import files
from percbal.study.json_files import write_json
from percbal.study.limits import limits
from percbal.study.logged import signals, thirds
from percbal.study.plan import START
from percbal.study.presets import PRESETS
from percbal.study.results import Results, collect
from percbal.study.runner import write_results
from percbal.study.tables import table

STUDY = PRESETS["rl-smoke"]
FIRST = STUDY.starts[0].name
DOCS = Path(__file__).parents[2] / "docs"
COMMITTED = {"study_quick": "study.md", "rl": "rl_study.md", "rl_checks": "rl_study.md"}


def digits(rows: list[list[float]]) -> str:
    return "".join(str(int(sum(row))) for row in rows)


def evaluation(a: list[list[float]], p: list[list[float]], history=()) -> dict:
    """Half of it known puzzles, half new ones, in the order of the rows."""
    half, right = len(a) // 2, {}
    for name, part in (("known", slice(half)), ("new", slice(half, None))):
        right[name] = {
            "sampled": {"a": digits(a[part]), "a_p": digits(p[part]), "a_r": digits(p[part])},
            "greedy": {metric: digits([[row[0]] for row in a[part]]) for metric in METRICS},
        }
    stepped = [{"step": i, **entry} for i, entry in enumerate(history, 1)]
    return {
        "samples": len(a[0]),
        "right": right,
        "perception_f1": 0.5,
        "unreadable": 1,
        "coupling": coupling({"a": a, "a_p": p, "own": a}),
        "signal": signals(stepped, thirds(3)),
        "seconds": {"train": 2.0},
    }


def save(root, arm, value, study=STUDY, start=FIRST):
    run = study.runs_of(start, arm)[0]
    write_json(files.run_directory(root, run) / files.EVALUATION, value)


@pytest.fixture
def results(tmp_path):
    wrong, right = [0.0, 0.0], [1.0, 1.0]
    save(tmp_path, START, evaluation([wrong] * 6 + [right] * 2, [wrong] * 4 + [right] * 4))
    agreement = [{"coupling/r_group_agreement_perception": r} for r in (0.1, 0.2, 0.3)]
    history = [*agreement, {"train_runtime": 1.0}]
    after = evaluation([wrong] * 5 + [right] * 3, [wrong] * 4 + [right] * 4, history)
    save(tmp_path, "outcome", after)
    return collect(STUDY, tmp_path)


def test_arms_are_changes_against_their_start(results):
    start, outcome = results.rows
    assert not start.changes and outcome.changes
    assert start.figures["a"].value == 0.25 and start.figures["greedy a"].value == 0.25
    assert outcome.figures["a"].value == pytest.approx(0.125)
    assert outcome.figures["a_p"].value == 0.0
    assert outcome.figures["a"].low <= 0.125 <= outcome.figures["a"].high
    assert outcome.by_run["a"] == [pytest.approx(0.125)]


def test_arms_are_values_where_their_start_is_not_measured(tmp_path, results):
    row = collect(replace(STUDY, measure_starts=False), tmp_path).rows[0]
    assert row.arm == "outcome" and not row.changes
    assert row.figures["a"].value == pytest.approx(3 / 8)
    # nobody is sure of an accuracy of 0 after 4 pictures
    assert row.figures["a_p known"].value == 0.0
    assert row.figures["a_p known"].high == pytest.approx(wilson_interval(0, 4).high)


def test_known_and_new_puzzles_are_also_told_apart(results):
    start, outcome = results.rows
    assert start.figures["a_p known"].value == 0.0 and start.figures["a_p new"].value == 1.0
    assert outcome.figures["a_p known"].value == outcome.figures["a_p new"].value == 0.0


def test_arms_are_compared_over_the_runs_that_both_have(tmp_path, results):
    assert results.differences == []  # the other arm of the pair is not there
    wrong, right = [0.0, 0.0], [1.0, 1.0]
    save(tmp_path, "same perception 0", evaluation([wrong] * 4 + [right] * 4, [right] * 8))
    (pair,) = collect(STUDY, tmp_path).differences
    assert (pair.name, pair.runs) == ("same perception 0 minus outcome", ["0"])
    assert pair.figures["a"].value == pytest.approx(0.125)
    assert pair.figures["a_p"].value == pytest.approx(0.5)


def test_only_runs_that_are_there_have_rows(results):
    assert [row.arm for row in results.rows] == [START, "outcome"]
    assert results.starts() == [FIRST]


def test_signals_are_followed_through_the_training(results):
    assert results.rows[1].signal == {"group_agreement": pytest.approx([0.1, 0.2, 0.3])}
    assert "| 0.10 0.20 0.30 |" in table(results)


def test_the_coupling_is_that_of_the_samples(results):
    # a within a_p: phi of (2, 4) of 8
    assert results.rows[0].coupling["pooled_perception"] == pytest.approx((1 / 3) ** 0.5)


def test_the_results_survive_json(tmp_path, results):
    write_json(tmp_path / "results.json", results.to_dict())
    again = Results.load(tmp_path / "results.json")
    assert repr(again) == repr(results)  # NaN, where nothing varies, is not equal to itself


def test_one_run_has_no_t_interval(tmp_path, results):
    save(tmp_path, "same perception 0", evaluation([[0.0, 1.0]] * 8, [[1.0, 1.0]] * 8))
    shown = table(write_results(STUDY, tmp_path))
    assert "±" not in shown and "same perception 0 minus outcome (1)" in shown
    assert (tmp_path / "results.md").read_text().startswith(shown)


# --- the committed studies ---------------------------------------------------------------------


@pytest.fixture(params=COMMITTED)
def committed(request):
    return request.param


def test_what_is_read_is_what_was_written(committed):
    path = DOCS / "results" / f"{committed}.json"
    assert json.loads(json.dumps(Results.load(path).to_dict())) == json.loads(path.read_text())


def test_the_documented_tables_are_those_of_the_committed_numbers(committed):
    results = Results.load(DOCS / "results" / f"{committed}.json")
    text = (DOCS / COMMITTED[committed]).read_text()
    for block in table(results).split("\n\n"):
        assert block in text
    if results.study == "quick":  # all its differences stand in the table above
        return
    for block in limits(PRESETS[results.study], results).split("\n\n"):
        assert block in text


def test_differences_by_run_have_the_mean_of_the_bootstrap(committed):
    for pair in Results.load(DOCS / "results" / f"{committed}.json").differences:
        for metric, interval in pair.figures.items():
            mean = sum(pair.by_run[metric]) / len(pair.runs)
            assert mean == pytest.approx(interval.value, abs=1e-12)


def test_no_arm_is_significantly_better_than_the_outcome_reward():
    """What docs/rl_study.md and README.md say first: by t over runs, and fine-tuning apart."""
    results = Results.load(DOCS / "results" / "rl.json")
    for row in results.rows:
        if row.arm in (START, "outcome"):
            continue
        gain = t_interval(results.by_run(row.start, row.arm, "outcome", "a"))
        assert (gain.low > 0) == (row.arm == "SFT fixed 0.5"), row.arm
