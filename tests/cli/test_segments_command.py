"""`percbal sft`, `grpo` and `data check` with segments of other names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from percbal.cli.main import main
from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "segments.yaml"
SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
QUICK = "--max_steps 2 --logging_steps 1 --use_cpu true --bf16 false --gradient_checkpointing false"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    words = get_task("sudoku").vocabulary()
    return build_tiny_vlm(tmp_path_factory.mktemp("model"), words, **SIZES)


@pytest.fixture
def data(tmp_path):
    return export_jsonl(get_task("sudoku"), "train", 6, tmp_path / "data")


def logged(out: Path) -> dict[str, float]:
    state = json.loads((out / "checkpoint-2" / "trainer_state.json").read_text())
    return state["log_history"][0]


def paths(model, data, out) -> list[str]:
    return ["--model", str(model), "--dataset", str(data), "--output_dir", str(out)]


def test_the_example_trains_four_segments(model, data, tmp_path):
    out = tmp_path / "out"
    main(["sft", "--config", str(EXAMPLE), *paths(model, data, out), *QUICK.split()])
    found = logged(out)
    weights = {"prompt": 0.05, "perception": 0.45, "answer": 0.2, "reasoning": 0.3}
    for name, weight in weights.items():
        assert found[f"weight_{name}"] == pytest.approx(weight, abs=1e-6) and found[f"n_{name}"] > 0
    loss = sum(weight * found[f"loss_{name}"] for name, weight in weights.items())
    assert found["loss"] == pytest.approx(loss, rel=1e-4)


def test_the_command_line_takes_them_as_a_list(model, data, tmp_path):
    out = tmp_path / "out"
    few = "--num_generations 2 --per_device_train_batch_size 2 --max_completion_length 4"
    segments = ["--segments", "perception=0.5,answer=0.2,reasoning=0.3"]
    main(["grpo", *paths(model, data, out), *QUICK.split(), *few.split(), *segments])
    assert logged(out)["segments/reasoning_share"] == 1.0


def test_a_check_counts_every_segment(model, data, tmp_path, capsys):
    names = ["prompt", "perception", "answer", "reasoning"]
    files = {kind: tmp_path / f"check.{kind}" for kind in ("json", "html")}
    options = ["--segments", ",".join(names), "--out", str(files["json"])]
    main(
        ["data", "check", str(data), "--model", str(model), *options, "--html", str(files["html"])]
    )
    found, said = json.loads(files["json"].read_text()), capsys.readouterr().out
    assert [*found["segments"]] == names and min(found["segments"].values()) > 0
    assert found["perception"] == found["segments"]["perception"] == 6 * 18
    assert "% prompt, " in said and "\nanswer tokens" in said and "[answer] <answer>" in said
    assert '<span class="s-further" title="answer">&lt;answer&gt; ' in files["html"].read_text()
    total = sum(found["segments"].values())
    assert f"{total} tokens to train on" in said
