"""The scripts that take the measure of a GPU: what they promise, as far as no GPU is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU.parent))

from gpu import facts as facts_module  # noqa: E402
from gpu import page  # noqa: E402
from gpu.facts import Facts, NeedsGpu, latest, lines  # noqa: E402
from gpu.rehearsal import limits, summary  # noqa: E402

MINUTES = {"quick": 7, "full": 6}
needs_timeout = pytest.mark.skipif(not shutil.which("timeout"), reason="no GNU timeout")


def bash(code: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    where = {"RESULTS": str(tmp_path / "results"), "SCRATCH": str(tmp_path / "scratch")}
    return subprocess.run(
        ["bash", "-c", code],
        env=os.environ | where | {"PYTHON": sys.executable} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", MINUTES)
def test_the_limits_of_the_steps_add_up_to_what_the_script_promises(script: str) -> None:
    together, promised = limits(script)
    assert 60 * MINUTES[script] == promised >= together > 0.9 * promised


@pytest.mark.parametrize("script", sorted(path.name for path in GPU.glob("*.sh")))
def test_every_script_is_one(script: str) -> None:
    subprocess.run(["bash", "-n", GPU / script], check=True)


def test_the_steps_name_files_and_modules_that_exist() -> None:
    text = "".join(path.read_text() for path in GPU.glob("*.sh"))
    files = re.findall(r"(?:benchmarks|tests)/[\w/]+\.\w+", text)
    modules = re.findall(r"-m gpu\.(\w+)", text)
    assert files and modules
    assert all((ROOT / path).exists() for path in files)
    assert all((GPU / f"{name}.py").exists() for name in modules)
    cuda = (ROOT / "tests" / "cuda" / "test_cuda_sources.py").read_text()
    assert all(f"def {name}(" in cuda for name in re.findall(r"sources\.py::(\w+)", text))


@needs_timeout
def test_a_step_that_fails_or_hangs_does_not_stop_the_next(tmp_path: Path) -> None:
    code = f"""
    . {GPU}/steps.sh
    begin trial 1
    step fails 5 bash -c 'exit 3'
    step hangs 1 sleep 20
    step works 5 true
    finish
    """
    done = bash(code, tmp_path, PERCBAL_GPU_REHEARSAL="1", REHEARSAL_SLACK="1")
    assert done.returncode == 0, done.stderr
    found = latest(tmp_path / "results" / "facts.jsonl", "steps")
    statuses = {key: line["status"] for key, line in found.items()}
    assert statuses == {"trial: fails": 3, "trial: hangs": 124, "trial: works": 0}
    assert found["trial: hangs"]["seconds"] <= 6


@needs_timeout
def test_a_step_gets_no_more_than_the_minutes_that_are_left(tmp_path: Path) -> None:
    code = f"""
    . {GPU}/steps.sh
    begin trial 7 --minutes 0.1
    step long 100 sleep 60
    step late 100 true
    """
    bash(code, tmp_path, PERCBAL_GPU_REHEARSAL="1", REHEARSAL_SLACK="1")
    found = latest(tmp_path / "results" / "facts.jsonl", "steps")
    assert found["trial: long"]["limit"] <= 6 and found["trial: long"]["seconds"] <= 10
    assert found["trial: late"]["status"] == "not begun"


def test_an_in_place_build_is_found_without_an_install(tmp_path: Path) -> None:
    """-S leaves what an install links to out of the path."""
    import torch

    site = Path(torch.__file__).parents[1]
    code = f". {GPU}/steps.sh; $PYTHON -S -c 'import percbal, percbal_ops, gpu.facts, common'"
    done = bash(code, tmp_path, PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", MINUTES)
def test_without_a_gpu_nothing_is_measured(script: str, tmp_path: Path) -> None:
    done = bash(f"bash {GPU}/{script}.sh", tmp_path, CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (0, "no GPU: nothing measured\n")
    assert not (tmp_path / "results" / "facts.jsonl").exists()


def test_a_fact_is_measured_once_and_a_failure_again(tmp_path: Path) -> None:
    calls = []

    def run() -> dict[str, object]:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("first\nfailure")
        return {"ms": 2.0}

    first = Facts("part", tmp_path)
    assert first.measure("key", run) is None and first.failed
    second = Facts("part", tmp_path)
    assert [second.measure("key", run)["ms"] for _ in range(2)] == [2.0, 2.0]
    assert len(calls) == 2 and not second.failed
    assert Facts("other", tmp_path).known() == {}
    errors = [line.get("error") for line in lines(first.path)]
    assert errors == ["RuntimeError: first failure", None]


def test_what_a_device_cannot_do_is_a_skip_and_no_failure(tmp_path: Path) -> None:
    def run() -> dict[str, object]:
        raise facts_module.Unsuitable("not on this device")

    facts = Facts("part", tmp_path)
    assert facts.measure("key", run) is None and not facts.failed
    assert facts.known()["key"]["skipped"] == "not on this device"
    assert facts.measure("key", lambda: {"ms": 2.0})["ms"] == 2.0


def test_where_ncu_counts_nothing_the_counters_are_no_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    from gpu import counted

    (tmp_path / "counters.csv").write_text("other output\n")
    monkeypatch.setattr(counted, "Facts", lambda part: Facts(part, tmp_path))
    monkeypatch.setattr(sys, "argv", ["counted", "--read", str(tmp_path / "counters.csv")])
    with pytest.raises(SystemExit, match="0"):
        counted.main()
    found = latest(tmp_path / "facts.jsonl", "counters")
    assert list(found) == list(counted.ORDER)
    assert all(line["skipped"].startswith("ncu is not installed") for line in found.values())


def test_a_line_cut_in_the_middle_is_measured_again(tmp_path: Path) -> None:
    facts = Facts("part", tmp_path)
    facts.measure("whole", lambda: {"ms": 1.0})
    with facts.path.open("a") as file:
        file.write('{"part": "part", "key": "cut", "ms"')
    assert list(facts.known()) == ["whole"]
    assert facts.measure("cut", lambda: {"ms": 3.0})["ms"] == 3.0
    assert list(facts.known()) == ["whole", "cut"]


def test_a_rehearsal_says_where_what_needs_a_gpu_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts_module, "REHEARSAL", True)

    def run() -> dict[str, object]:
        raise NeedsGpu("counters")

    def broken() -> dict[str, object]:
        raise KeyError("name")

    facts = Facts("part", tmp_path)
    facts.measure("ours", run)
    assert not facts.failed
    (line,) = lines(facts.path)
    assert re.fullmatch(r"tests/gpu/test_gpu_scripts.py:\d+: NeedsGpu: counters", line["needs_gpu"])
    assert not summary(facts.path)[1]
    facts.measure("wrong", broken)
    said, failed = summary(facts.path)
    assert failed and "  part: wrong" in said


def test_the_page_is_made_from_the_committed_lines() -> None:
    assert page.PAGE.read_text() == page.page()


def test_no_line_of_a_rehearsal_is_among_the_results() -> None:
    for path in (GPU / "results").glob("*/facts.jsonl"):
        assert not [line for line in lines(path) if line.get("rehearsal")]


def test_every_prediction_has_a_place_in_the_page(tmp_path: Path) -> None:
    """Each names a line that a run wrote: with its field the page has no dash left."""
    found = json.loads((GPU / "predictions.json").read_text())
    for entry in found:
        assert entry["key"] in latest(GPU / "results" / "h200" / "facts.jsonl", entry["part"])
    folder = tmp_path / "card"
    for entry in found:
        facts = Facts(entry["part"], folder)
        known = facts.known().get(entry["key"], {"key": entry["key"]})
        facts.write(known | {entry["field"]: 1.25, entry.get("over", "seconds"): 1.0})
    _, heads, rows = page.predictions(lambda part: latest(folder / "facts.jsonl", part))
    assert heads[-1] == "measured" and [row[-1] for row in rows] == ["1.25"] * len(found)
