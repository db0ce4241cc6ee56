"""Facts about a study that grows line by line: what is made, at what rate, and what not again."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from threading import Barrier, Thread

import pytest

from percbal.cli.study import _part, _seeds
from percbal.study import files, runner
from percbal.study.files import digest
from percbal.study.job_pool import Job, run_jobs
from percbal.study.json_files import write_json
from percbal.study.ledger import Ledger
from percbal.study.lines import append_line, figures, is_repeated, name_of
from percbal.study.machine import made_here, same_kind
from percbal.study.making import needless
from percbal.study.plan import Arm, Run, Study
from percbal.study.presets import PRESETS
from percbal.study.runner import Part, run_study

STUDY = replace(PRESETS["sft-smoke"], arms=PRESETS["sft-smoke"].arms[:2], compared=())
ARMS = [arm.name for arm in STUDY.arms]


def evaluation(study, run, a="10", plan=None):
    right = {metric: a for metric in ("a", "a_p", "a_r")}
    return {
        "status": "done",
        "plan": plan or digest(study.settings(run)),
        "weights": "w",
        "samples": 2,
        "right": {"new": {"greedy": right, "sampled": dict.fromkeys(right, "21")}},
        "exact_p": [0.5, 0.25],
        "unreadable": 1,
        "coupling": {"pooled_perception": 0.5, "within_perception": float("nan")},
        "signal": {"outcome": [0.1, 0.2, 0.3]},
        "logged": {},
        "seconds": {"train": 1.0},
        **made_here(1),
    }


@pytest.fixture
def made(monkeypatch):
    """The runs that would be trained, in order; a tuned rate of 3e-3 scores best."""
    runs = []

    def make(study, root, wanted, ledger, *, again, **how):
        for run in wanted:
            runs.append(run)
            value = evaluation(study, run, a="11" if run.rate == 3e-3 else "00")
            value["right"]["new"]["sampled"]["a"] = "22" if run.rate == 3e-3 else "10"
            (ledger.add_repeat if again else ledger.add)(run, value)

    monkeypatch.setattr(runner, "make_runs", make)
    return runs


def test_rates_are_tuned_first_on_bases_of_their_own_and_every_arm_takes_its_best(tmp_path, made):
    run_study(STUDY, tmp_path)
    tuned = [run for run in made if run.tuning]
    assert [(run.arm, run.rate) for run in tuned] == [
        (arm, rate) for rate in STUDY.tuning.grid for arm in ARMS
    ]
    assert {run.start for run in tuned} == {"tuning 91"}
    results = made[len(tuned) :]
    assert {run.rate for run in results} == {3e-3}
    assert [run.seed for run in results] == [1, 1, 2, 2], "all arms of a base together"


def test_what_has_a_line_is_not_made_again_anywhere(tmp_path, made):
    lines = tmp_path / "lines.jsonl"
    first = Part(arms=(ARMS[0],), seeds=(1, 91), lines=lines)
    run_study(STUDY, tmp_path / "one", part=first)
    assert [run.arm for run in made] == [ARMS[0]] * 3
    made.clear()
    run_study(STUDY, tmp_path / "two", part=Part(lines=lines))
    results = [(run.arm, run.seed) for run in made if not run.tuning]
    assert sorted(results) == sorted([(ARMS[1], 1), (ARMS[0], 2), (ARMS[1], 2)])
    made.clear()
    run_study(STUDY, tmp_path / "three", part=Part(lines=lines))
    assert made == []


def test_other_settings_are_other_runs(tmp_path):
    run = STUDY.runs()[0]
    longer = replace(STUDY, sft=replace(STUDY.sft, steps=5))
    ledger = Ledger(STUDY, tmp_path / "x.jsonl")
    ledger.add(run, evaluation(STUDY, run))
    assert ledger.without([run], "run") == []
    assert Ledger(longer, ledger.path).without([run], "run") == [run]
    more = replace(STUDY, arms=(*STUDY.arms, Arm("further")))
    assert Ledger(more, ledger.path).without([run], "run") == []
    with pytest.raises(ValueError, match="was run with other settings"):
        Ledger(longer, ledger.path).add(run, evaluation(STUDY, run))


def test_what_was_said_cannot_change_under_the_lines(tmp_path):
    run = STUDY.runs()[0]
    Ledger(STUDY, tmp_path / "x.jsonl", "said").add(run, evaluation(STUDY, run))
    with pytest.raises(ValueError, match="has lines of another registration .said, not changed"):
        Ledger(STUDY, tmp_path / "x.jsonl", "changed")


def test_arms_without_a_tuned_rate_wait(tmp_path, made):
    other = replace(STUDY, tuning=replace(STUDY.tuning, study="elsewhere"))
    with pytest.raises(ValueError, match="has no tuned rate; first run percbal study --preset els"):
        run_study(other, tmp_path)
    assert made == []


def test_rates_may_stand_in_a_file_beside(tmp_path, made):
    run_study(STUDY, tmp_path / "one", part=Part(tuning=True, lines=tmp_path / "tuned.jsonl"))
    made.clear()
    tuning = replace(STUDY.tuning, lines="tuned.jsonl")
    other = replace(STUDY, name="other", tuning=tuning, starts=STUDY.starts[:1])
    run_study(other, tmp_path / "two", part=Part(lines=tmp_path / "own.jsonl"))
    assert {run.rate for run in made} == {3e-3} and not any(run.tuning for run in made)
    elsewhere = Part(lines=tmp_path / "elsewhere" / "own.jsonl")
    with pytest.raises(ValueError, match="elsewhere/tuned.jsonl has no tuned rate"):
        run_study(other, tmp_path / "three", part=elsewhere)


def test_one_run_in_twenty_is_made_twice_and_compared_bit_for_bit(tmp_path):
    runs = [Run("base 1", arm, seed) for arm in ARMS for seed in range(100)]
    ledger = Ledger(STUDY, tmp_path / "x.jsonl")
    names = [{"study": STUDY.name, **vars(run)} for run in runs]
    chosen = [run for run, name in zip(runs, names, strict=True) if is_repeated(name)]
    assert 3 < len(chosen) < 20
    assert name_of(names[0]) == f"sft-smoke / base 1 / {ARMS[0]} / 0 / None"
    for run in chosen[:2]:
        ledger.add(run, evaluation(STUDY, run))
    assert ledger.to_repeat(runs, 1) == chosen[:2]
    ledger.add_repeat(chosen[0], evaluation(STUDY, chosen[0]))
    ledger.add_repeat(chosen[1], evaluation(STUDY, chosen[1], a="11"))
    equal = [line["equal"]["figures"] for line in ledger.lines("repeat")]
    assert equal == [True, False] and ledger.to_repeat(runs, 1) == []


def test_a_run_is_repeated_on_the_same_kind_of_processor_alone(tmp_path, monkeypatch):
    run = next(
        Run("base 1", ARMS[0], seed)
        for seed in range(1000)
        if is_repeated({"study": STUDY.name, **vars(Run("base 1", ARMS[0], seed))})
    )
    ledger = Ledger(STUDY, tmp_path / "x.jsonl")
    ledger.add(run, evaluation(STUDY, run))
    assert ledger.to_repeat([run], 1) == [run]
    assert ledger.to_repeat([run], 2) == [], "with other threads sums have another order"
    own = made_here(1)
    assert not same_kind(own, {**own, "versions": {"torch": "another"}})
    assert not same_kind(own, {**own, "machine": own["machine"] | {"also": [["another"]]}})
    other = {**own, "machine": own["machine"] | {"processor": "another"}}
    monkeypatch.setattr("percbal.study.ledger.made_here", lambda threads: other)
    assert ledger.to_repeat([run], 1) == []


def test_a_line_says_what_its_job_said(tmp_path):
    ledger, run = Ledger(STUDY, tmp_path / "x.jsonl"), STUDY.runs()[0]
    there = {"machine": {"processor": "elsewhere"}, "versions": {"torch": "1"}, "day": "then"}
    ledger.add(run, evaluation(STUDY, run) | there)
    assert there.items() <= ledger.lines()[0].items()


def test_a_run_has_one_line_whoever_adds_it(tmp_path):
    run, eight = STUDY.runs()[0], Barrier(8)

    def add():
        eight.wait()
        ledger.add(run, evaluation(STUDY, run))

    ledger = Ledger(STUDY, tmp_path / "x.jsonl")
    threads = [Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.lines()) == 1


def test_what_a_start_came_to_is_a_line_of_its_own(tmp_path, made):
    """Once for the same weights; also without a run to make, and of one that diverged at once."""
    part = Part(lines=tmp_path / "x.jsonl")
    run_study(STUDY, tmp_path / "a", part=part)
    ledger = Ledger(STUDY, part.lines)
    assert not ledger.lines("start"), "none has ended"
    measured = [{"step": 20, "exact_p": 0.05}, {"step": 40, "exact_p": 0.125}]
    there = made_here(1) | {"day": "then", "seconds": {"train": 9.0}}
    ended = (
        {"verdict": "reached", "steps": 40, "measured": measured},
        {
            "verdict": "diverged after 3 steps",
            "steps": 3,
            "measured": [],
        },
    )
    for seed, outcome in enumerate(ended, 1):
        folder = files.base_directory(tmp_path / "a", seed)
        write_json(folder / files.OUTCOME, outcome | there)
    for weights in (b"w", b"w", b"v"):
        folder = files.base_directory(tmp_path / "a", 1) / files.MODEL
        folder.mkdir(exist_ok=True)
        (folder / "model.safetensors").write_bytes(weights)
        run_study(STUDY, tmp_path / "a", part=part)
    first, failed, second = ledger.lines("start")
    assert first["figures"] == measured[-1] and first["status"] == "reached"
    assert (first["start"], first["weights"]) == ("base 1", digest(b"w"))
    assert second == first | {"weights": digest(b"v")}
    assert there.items() <= first.items() and first["plan"] != failed["plan"]
    assert (failed["status"], failed["figures"]) == ("diverged after 3 steps", {})


def test_runs_belong_to_what_was_said_before_they_were_made(tmp_path, made):
    """Lines of runs that are there already would else carry what was said after them."""
    run_study(STUDY, tmp_path / "a", part=Part(lines=tmp_path / "x.jsonl", registered="before"))
    again = Part(lines=tmp_path / "y.jsonl", registered="after")
    with pytest.raises(ValueError, match="made under before, not under after; choose another"):
        run_study(STUDY, tmp_path / "a", part=again)
    run_study(STUDY, tmp_path / "b")
    with pytest.raises(ValueError, match="under nothing that was said beforehand, not under after"):
        run_study(STUDY, tmp_path / "b", part=again)


def test_a_run_that_has_a_line_by_now_or_a_start_that_failed_elsewhere_is_left_out(tmp_path):
    ledger, run = Ledger(STUDY, tmp_path / "x.jsonl"), STUDY.runs()[0]
    start = STUDY.start(run.start)
    write_json(files.start_directory(tmp_path, start) / files.OUTCOME, {"verdict": "reached"})

    def why(again=False):
        return needless(STUDY, tmp_path, ledger, run, again)

    assert why() == ""
    ledger.add(run, evaluation(STUDY, run))
    assert why() == "somebody else has made it" and why(again=True) == ""
    other = Ledger(replace(STUDY, name="other"), ledger.path)
    other.add_start(start, {"verdict": "the steps ran out", "measured": []}, "")
    assert why(again=True) == "", "of another study"
    ledger.add_start(start, {"verdict": "exact_p went to 0.4", "measured": []}, "")
    ledger.add_start(start, {"verdict": "reached", "measured": []}, "w")
    assert "has a line that says exact_p went to 0.4, and here: reached" in why(again=True)


def test_a_result_with_other_figures_than_its_line_is_told_of(tmp_path, caplog):
    ledger, run = Ledger(STUDY, tmp_path / "x.jsonl"), STUDY.runs()[0]
    ledger.add(run, evaluation(STUDY, run))
    ledger.add(run, evaluation(STUDY, run))
    assert not caplog.records
    ledger.add(run, evaluation(STUDY, run, a="11"))
    assert "with other figures than it has here" in caplog.text and len(ledger.lines()) == 1


def test_two_choices_of_a_rate_are_refused(tmp_path, made):
    path = tmp_path / "x.jsonl"
    run_study(STUDY, tmp_path, part=Part(tuning=True, lines=path))
    ledger = Ledger(STUDY, path)
    choice = ledger.lines("choice")[0]
    append_line(path, choice | {"rate": 0.5})
    with pytest.raises(ValueError, match=f"chose {choice['rate']:g} and 0.5 for {choice['arm']}"):
        ledger.rates()


def test_a_rate_that_another_grid_chose_is_not_taken(tmp_path, made):
    run_study(STUDY, tmp_path, part=Part(tuning=True, lines=tmp_path / "x.jsonl"))
    ledger = Ledger(STUDY, tmp_path / "x.jsonl")
    assert set(ledger.rates().values()) == {3e-3}
    finer = replace(STUDY, tuning=replace(STUDY.tuning, grid=(1e-3, 2e-3, 3e-3)))
    assert Ledger(finer, ledger.path).rates() == {}


def test_no_registered_run_begins_while_a_rate_may_change(tmp_path, made):
    said, part = replace(STUDY, registered="x"), Part(lines=tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match=f"^the rate of {ARMS[1]} is not tuned yet: all are, be"):
        run_study(said, tmp_path / "a", part=replace(part, arms=(ARMS[0],)))
    with pytest.raises(ValueError, match="is best at 0.003, an end of the grid: as was said befor"):
        run_study(said, tmp_path / "b", part=part)
    assert all(run.tuning for run in made)
    wider = replace(said, tuning=replace(STUDY.tuning, grid=(1e-3, 3e-3, 9e-3)))
    run_study(wider, tmp_path / "c", part=part)
    assert {run.rate for run in made if not run.tuning} == {3e-3}


def test_the_figures_of_a_line():
    found = figures(evaluation(STUDY, STUDY.runs()[0]))
    assert found["a"] == 0.75 and found["greedy_a"] == 0.5 and found["exact_p"] == 0.375
    assert found["unreadable"] == 0.5 and found["signal_outcome.3"] == 0.3
    assert found["r_pooled_perception"] == 0.5 and "r_within_perception" not in found
    assert figures({"status": "no start: the steps ran out"}) == {}


def test_jobs_wait_for_what_they_need_and_none_begins_after_the_time(tmp_path):
    def job(name, needs=None):
        out = tmp_path / name
        code = f"import pathlib; pathlib.Path({str(out / 'done')!r}).touch()"
        return Job(name, ["-c", code], out, out / "done", needs)

    second = job("second", tmp_path / "first" / "done")
    run_jobs([second, job("late")], at_once=1, what="", minutes=0)
    assert not list(tmp_path.iterdir())
    order = []
    jobs = [second, job("first")]
    run_jobs(jobs, at_once=2, what="", finished=lambda job: order.append(job.label))
    assert order == ["first", "second"]
    jobs = [job("third"), job("fourth")]
    left_out = {"third": "", "fourth": "somebody else has made it"}
    run_jobs(jobs, at_once=1, what="", needless=lambda job: left_out[job.label])
    assert jobs[0].result.exists() and not jobs[1].result.exists()


def test_seeds_are_read_as_a_range_or_a_list():
    assert _seeds("1..4") == (1, 2, 3, 4) and _seeds("2,9") == (2, 9)
    with pytest.raises(Exception, match="must be like 1..4 or 1,3, got 'x'"):
        _seeds("x")
    with pytest.raises(Exception, match="must be like 1..4 or 1,3, got '4..1'"):
        _seeds("4..1")


def test_arms_and_seeds_that_are_not_there_are_answered_with_those_that_are(tmp_path):
    with pytest.raises(ValueError, match="has no seed 7; it has: 1, 2, 91$"):
        run_study(STUDY, tmp_path, part=Part(seeds=(1, 7)))
    with pytest.raises(ValueError, match="has no arm 'start'"):
        run_study(STUDY, tmp_path, part=Part(arms=("start",)))
    assert not list(tmp_path.iterdir())


def test_the_starts_that_an_arm_is_a_change_of_are_made_with_it():
    dose = PRESETS["dose"]
    asked = Part(arms=("truth",), seeds=(41,)).of(dose.runs())
    assert {run.arm for run in asked} == {"start", "truth"}
    Part(arms=("start",)).check(dose)
    assert {run.arm for run in Part(arms=("start",)).of(dose.runs())} == {"start"}


def test_a_part_of_a_study_is_asked_for_by_arm_and_what_was_said_must_be_there(tmp_path):
    args = Namespace(only=["arm=NGDiff", "tuning"], seeds=(1,), minutes=5.0)
    args.lines, args.registration = None, None
    part = _part(args, "")
    assert part == Part(arms=("NGDiff",), seeds=(1,), tuning=True, minutes=5.0)
    args.lines, args.registration = tmp_path / "x.jsonl", tmp_path / "nothing.yaml"
    with pytest.raises(ValueError, match="what is expected must be said before a run"):
        _part(args, "sft")
    args.only = ["NGDiff"]
    with pytest.raises(ValueError, match="--only must be arm=NAME or tuning, got NGDiff"):
        _part(args, "")


def test_a_study_may_grow_by_arms_and_starts_and_no_other_way():
    fewer = replace(STUDY, starts=STUDY.starts[:1], arms=STUDY.arms[:1], compared=())
    assert STUDY.extends(fewer) and not fewer.extends(STUDY)
    assert not replace(STUDY, samples=3).extends(STUDY)
    tuning = STUDY.tuning
    assert replace(STUDY, tuning=replace(tuning, grid=(*tuning.grid, 6e-3))).extends(STUDY)
    assert not replace(STUDY, tuning=replace(tuning, grid=tuning.grid[:1])).extends(STUDY)
    assert not replace(STUDY, tuning=replace(tuning, seeds=(92,))).extends(STUDY)
    changed = replace(STUDY, arms=(Arm(ARMS[0], options={"balance": "ngdiff"}), STUDY.arms[1]))
    assert not changed.extends(STUDY)


def test_tuning_on_the_seeds_of_results_is_refused():
    with pytest.raises(ValueError, match="rates are tuned on seeds of their own"):
        replace(STUDY, tuning=replace(STUDY.tuning, seeds=(1,)))
    assert isinstance(STUDY, Study)
