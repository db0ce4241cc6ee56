"""The whole experiment in small: it runs, resumes, reports, and the command line drives it."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from percbal.evaluate.names import METRICS
from percbal.report.page import write_report
from percbal.study import files
from percbal.study.job_pool import Job, threads
from percbal.study.plan import Arm, Run, Start, Study, folder
from percbal.study.presets import PRESETS
from percbal.study.results import collect
from percbal.study.run import main as job_main
from percbal.study.runner import run_study

SMOKE = PRESETS["smoke"]


def directory(root, arm, seed):
    """Of a run of the small study, whose starts are bases."""
    return files.run_directory(root, Run(f"seed {seed}", arm, seed))


def diagnosis(root, arm, seed):
    return json.loads((directory(root, arm, seed) / "diagnosis.json").read_text())


def plots(report):
    """The SVGs in the addresses of a page."""
    found = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", report)
    return [base64.b64decode(text).decode() for text in found]


def start_here(job, threads):
    """As ``Job.start``, without the seconds that a process of its own takes to import."""
    before = torch.get_num_threads()
    job.directory.mkdir(parents=True, exist_ok=True)
    assert job.arguments[:2] == ["-m", "percbal.study.job"]
    job_main(*job.arguments[2:])
    torch.set_num_threads(before)
    job.process = subprocess.Popen(["true"], stdin=subprocess.PIPE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Made in this process; other tests here make some of it again in processes of its own."""
    root = tmp_path_factory.mktemp("runs") / "smoke"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "start", start_here)
        results = run_study(SMOKE, root, jobs=1)
    return root, results


def test_every_arm_starts_from_the_same_weights_and_sees_the_same_batches(finished):
    """The first logged loss is taken before any step could tell the arms apart."""
    root, _ = finished
    first = {}
    for arm in SMOKE.arms:
        logs = json.loads((directory(root, arm.name, 0) / "history.json").read_text())
        first[arm.name] = (logs[0]["loss_p"], logs[0]["loss_r"], logs[0]["n_p"], logs[0]["n_r"])
    one, other = first.values()
    assert one == pytest.approx(other, rel=1e-4)


def test_a_finished_study_is_not_run_again(finished, monkeypatch):
    root, results = finished
    monkeypatch.setattr(subprocess, "Popen", None)
    again = run_study(SMOKE, root, jobs=1)
    assert again == results


def test_only_the_missing_arm_is_run_again(finished, monkeypatch):
    root, results = finished
    missing = directory(root, "NGDiff", 1)
    kept = {p: p.stat().st_mtime for p in root.rglob("evaluation.json") if p.parent != missing}
    (missing / "evaluation.json").unlink()
    again = run_study(SMOKE, root, jobs=1)
    assert all(p.stat().st_mtime == time for p, time in kept.items())
    for row, before in zip(again.rows, results.rows, strict=True):
        assert row.by_run == before.by_run, "an arm that resumed ended elsewhere"


def test_another_study_in_the_same_place_is_refused(finished):
    root, _ = finished
    other = replace(SMOKE, sft=replace(SMOKE.sft, steps=5))
    with pytest.raises(ValueError, match="holds a study with other settings"):
        run_study(other, root)


def test_two_processes_do_not_work_on_one_study(finished):
    root, _ = finished
    with open(root / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is working on the study in"):
            run_study(SMOKE, root)


def test_a_job_ends_with_the_process_that_started_it(tmp_path):
    """Which is killed, and can tell it nothing."""
    job = "from percbal.study.job import end_with_parent as e; e(); import time; time.sleep(60)"
    parent = (
        "from percbal.study.job_pool import Job; from pathlib import Path; import time\n"
        f"job = Job('x', ['-c', {job!r}], Path({str(tmp_path)!r}), Path('none'))\n"
        "job.start(1); print(job.process.pid, flush=True); time.sleep(60)"
    )
    started = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    child = int(started.stdout.readline())
    started.kill()
    started.wait()
    end = time.monotonic() + 30
    while Path(f"/proc/{child}/cmdline").exists() and time.monotonic() < end:
        if not Path(f"/proc/{child}/cmdline").read_bytes():  # a zombie, which nobody has buried
            break
        time.sleep(0.1)
    assert time.monotonic() < end


def test_a_job_whose_parent_is_gone_ends_before_it_has_imported_anything_large():
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "percbal.study.job",
        "nowhere",
        "base",
        "0",
    ]
    environment = {**os.environ, "PERCBAL_ENDS_WITH_PARENT": "1"}
    found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment)
    assert found.returncode == 1
    assert b"percbal.study" in found.stderr and b" torch\n" not in found.stderr


def test_a_failing_arm_is_named_with_its_last_words(finished, tmp_path):
    root, _ = finished
    for made in (files.untrained(root, 0).parent, directory(root, "token-mean", 0), root / "data"):
        shutil.copytree(made, tmp_path / "x" / made.relative_to(root))
    broken = replace(
        SMOKE,
        starts=SMOKE.starts[:1],
        arms=(SMOKE.arms[0], Arm("bad", options={"balance": "no_such_balance"})),
        compared=(),
    )
    with pytest.raises(RuntimeError, match="bad from seed 0, seed 0") as error:
        run_study(broken, tmp_path / "x", jobs=1)
    assert "no_such_balance" in str(error.value)
    assert (directory(tmp_path / "x", "token-mean", 0) / "evaluation.json").exists()
    # what there is stands in the table
    assert "| token-mean (1) |" in (tmp_path / "x" / "results.md").read_text()


def test_results_agree_with_the_records(finished):
    root, results = finished
    for row in results.rows:
        for metric in METRICS:
            records = [diagnosis(root, row.arm, start.seed)["records"] for start in SMOKE.starts]
            mean = np.mean([[record[metric] for record in run] for run in records])
            assert row.figures[metric].value == pytest.approx(mean)
            assert row.figures[metric].low <= mean <= row.figures[metric].high


def test_the_report_is_one_file_that_stands_alone(finished):
    root, results = finished
    report = write_report(SMOKE, collect(SMOKE, root), root).read_text()
    assert len(plots(report)) == 2 and "data:image/png;base64" in report
    assert not re.findall(r"(?:src|href)=['\"]?(?!data:|#)[^'\"> ]+", report)
    for row in results.rows:
        assert row.arm in report
    assert "not told apart from 0" in report  # four steps teach nothing


def test_presets_survive_a_round_trip(tmp_path):
    for study in PRESETS.values():
        study.save(tmp_path / "study.json")
        assert Study.load(tmp_path / "study.json") == study


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"arms": (Arm("a"), Arm("a"))}, "a study needs arms with names of their own, none of"),
        ({"arms": (Arm("start"),)}, "none of them start, got"),
        ({"arms": ()}, "a study needs arms with names of their own"),
        ({"starts": (Start("a b", 0), Start("a/b", 1))}, "a study needs starts with names"),
        ({"arms": (Arm(".."),)}, "'..' cannot be the name of a directory"),
        ({"arms": (Arm("a", "dpo"),)}, "kind must be one of .*, got .*dpo"),
        ({"samples": 10}, "samples must be 0 to 9, one digit, got 10"),
        ({"compared": (("NGDiff", "nothing"),)}, "there is no arm nothing to compare"),
    ],
)
def test_a_study_that_cannot_be_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(SMOKE, **{"compared": (), **changes})


def test_names_that_are_not_there_are_answered_with_those_that_are():
    with pytest.raises(ValueError, match="no arm 'c'; it has: token-mean, NGDiff"):
        SMOKE.arm("c")


def test_a_study_of_another_version_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "study.json").write_text('{"name": "quick", "steps": 1200, "seeds": [3, 4]}')
    with pytest.raises(ValueError, match="study.json was written by another version"):
        run_study(SMOKE, tmp_path)


def test_folders_of_arms_stay_below_their_study():
    for name in ("../x", "a/b", "./..//c", "x, lr/2"):
        assert "/" not in folder(name) and not folder(name).startswith(".")


def test_runs_come_seed_by_seed_and_the_slow_arms_first():
    runs = [(run.start, run.arm, run.seed) for run in PRESETS["quick"].runs()]
    assert runs[:2] == [("seed 3", "NGDiff", 3), ("seed 3", "token-mean", 3)]
    assert [seed for *_, seed in runs] == [3, 3, 3, 4, 4, 4]
    rl = PRESETS["rl"].runs()
    assert [run.arm for run in rl[:2]] == ["start", "start"]  # once for each, not for each seed
    assert len(rl) == 2 + 2 * 12 * 3 and len(set(rl)) == len(rl)


def test_fine_tuning_from_a_fine_tuned_start_costs_as_much_as_the_updates():
    rl = PRESETS["rl"]
    recipe = rl.recipe(rl.starts[0], rl.arm("SFT fixed 0.5"))
    assert recipe.instances is None  # fresh ones: the start has seen the others
    assert recipe.steps * recipe.batch_size == pytest.approx(4 / 3 * 45 * 512, abs=32)
    assert SMOKE.recipe(SMOKE.starts[0], SMOKE.arms[0]) == SMOKE.sft


@pytest.mark.parametrize("caller, least", [("1", 1), ("64", None), ("", None), ("x", None)])
def test_processes_take_no_more_threads_than_the_caller_allows(monkeypatch, caller, least):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", caller)
    assert threads(2) == (least or 4)


@pytest.mark.slow
def test_the_small_study_of_reinforcement_makes_a_row_for_every_arm(tmp_path):
    study = PRESETS["rl-smoke"]
    results = run_study(study, tmp_path, jobs=2)
    assert len(results.rows) == 2 * (1 + len(study.arms))
    assert "| outcome (1) |" in (tmp_path / "results.md").read_text()
    report = write_report(study, results, tmp_path).read_text()
    assert "outcome reward" in plots(report)[2] and report.count("<h2>Accuracies from") == 2
