"""The whole experiment in small: it runs, resumes, reports, and the command line drives it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from percbal.cli import main
from percbal.evaluate.diagnose import METRICS
from percbal.report.page import write_report
from percbal.study.arm import run_directory
from percbal.study.presets import PRESETS, Arm, Study
from percbal.study.results import Results, collect
from percbal.study.runner import run_study

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs") / "smoke"
    results = run_study(SMOKE, root, jobs=1)
    return root, results


def test_every_arm_starts_from_the_same_weights_and_sees_the_same_batches(finished):
    """The first logged loss is taken before any step could tell the arms apart."""
    root, _ = finished
    first = {}
    for arm in SMOKE.arms:
        logs = json.loads((run_directory(root, arm.name, 0) / "history.json").read_text())
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
    missing = run_directory(root, "NGDiff", 1)
    kept = {p: p.stat().st_mtime for p in root.rglob("diagnosis.json") if p.parent != missing}
    (missing / "diagnosis.json").unlink()
    again = run_study(SMOKE, root, jobs=1)
    assert all(p.stat().st_mtime == time for p, time in kept.items())
    for arm, before in zip(again.arms, results.arms, strict=True):
        assert arm.by_seed == before.by_seed, "an arm that resumed ended elsewhere"


def test_another_study_in_the_same_place_is_refused(finished):
    root, _ = finished
    other = Study(**{**vars(SMOKE), "steps": 5})
    with pytest.raises(ValueError, match="holds a study with other settings"):
        run_study(other, root)


def test_a_failing_arm_is_named_with_its_last_words(tmp_path):
    broken = Study(
        **{
            **vars(SMOKE),
            "arms": (Arm("good", "token_mean"), Arm("bad", "no_such_balance")),
            "seeds": (0,),
            "train_instances": 16,
        }
    )
    with pytest.raises(RuntimeError, match="bad, seed 0") as error:
        run_study(broken, tmp_path / "x", jobs=1)
    assert "no_such_balance" in str(error.value)
    assert (run_directory(tmp_path / "x", "good", 0) / "diagnosis.json").exists()


def test_results_agree_with_the_records(finished):
    root, results = finished
    for arm in results.arms:
        for metric in METRICS:
            seeds = [
                json.loads((run_directory(root, arm.name, seed) / "diagnosis.json").read_text())
                for seed in SMOKE.seeds
            ]
            mean = np.mean([[record[metric] for record in run["records"]] for run in seeds])
            assert arm.accuracy[metric].value == pytest.approx(mean)
            assert arm.accuracy[metric].low <= mean <= arm.accuracy[metric].high


def test_the_report_is_one_file_that_stands_alone(finished):
    root, results = finished
    report = write_report(SMOKE, collect(SMOKE, root), root).read_text()
    assert report.count("<svg") == 3 and "data:image/png;base64" in report
    assert not re.findall(r"(?:src|href)=['\"]?(?!data:|#)[^'\"> ]+", report)
    for arm in results.arms:
        assert arm.name in report
    assert "not told apart from 0" in report  # four steps teach nothing


def test_the_documented_table_is_that_of_the_committed_numbers():
    docs = Path(__file__).parents[2] / "docs"
    committed = docs / "results" / "study_quick.json"
    results = Results.load(committed)
    assert json.loads(json.dumps(results.to_dict())) == json.loads(committed.read_text())
    assert results.table() in (docs / "study.md").read_text()


def test_presets_survive_a_round_trip_and_duplicate_arms_are_refused(tmp_path):
    for study in PRESETS.values():
        study.save(tmp_path / "study.json")
        assert Study.load(tmp_path / "study.json") == study
    with pytest.raises(ValueError, match="arms of a study need names of their own"):
        Study("x", "y", arms=(Arm("a", "fixed"), Arm("a", "ngdiff")))
    with pytest.raises(ValueError, match="no arm 'c'; its arms: token-mean, NGDiff"):
        SMOKE.arm("c")


def test_command_line_exports_trains_and_diagnoses(finished, tmp_path, capsys):
    root, _ = finished
    initial = str(root / "seed0" / "initial")
    main(["tasks", "--export", str(tmp_path / "data"), "--n", "8"])
    main(["tasks", "--preview", str(tmp_path / "sheet.png"), "--n", "2"])
    (tmp_path / "sft.yaml").write_text(
        f"model: {initial}\ndataset: {tmp_path}/data/train.jsonl\noutput_dir: {tmp_path}/out\n"
        "balance: fixed\nlam: 0.3\nmax_steps: 2\nper_device_train_batch_size: 4\nuse_cpu: true\n"
        "bf16: false\nreport_to: none\nsave_strategy: 'no'\n"
    )
    main(["sft", "--config", str(tmp_path / "sft.yaml"), "--logging_steps", "1"])
    out = tmp_path / "diagnosis.json"
    main(["diagnose", str(tmp_path / "out"), "--n", "2", "--out", str(out)])
    assert (tmp_path / "sheet.png").stat().st_size > 0
    assert len(json.loads(out.read_text())["records"]) == 2
    assert "a_p" in capsys.readouterr().out
    adapted = str(tmp_path / "adapted")
    changed = ["--output_dir", adapted, "--lora_r", "2", "--lora_target", "q_proj"]
    main(["sft", "--config", str(tmp_path / "sft.yaml"), *changed])
    main(["diagnose", adapted, "--n", "2"])
    assert not (tmp_path / "adapted" / "model.safetensors").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["diagnose", "/nowhere"], "/nowhere is not a directory"),
        (["diagnose", ".", "--dtype", "bf16"], "float16, got 'bf16'"),
        (["diagnose", "/nowhere", "--option", "size"], "--option takes NAME=VALUE, got 'size'"),
        (["tasks", "--task", "chess", "--preview", "x.png"], "unknown task 'chess'"),
        (["tasks", "--option", "size=5", "--preview", "x.png"], "size must be 4 or 9, got 5"),
        (
            ["sft", "--model", "x", "--dataset", "/no/such.jsonl", "--output_dir", "x"]
            + ["--use_cpu", "--bf16", "false"],
            "there is no file /no/such.jsonl",
        ),
    ],
)
def test_mistakes_get_one_sentence_and_exit_status_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert sentence in capsys.readouterr().err


def test_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "percbal", "--help"], capture_output=True, text=True
    )
    assert all(command in done.stdout for command in ("study", "sft", "diagnose", "tasks"))
