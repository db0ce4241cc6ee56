"""Facts about ``percbal grpo``: from files to a model."""

from __future__ import annotations

import json

import pytest

from percbal.cli.grpo import reward_function
from percbal.cli.main import main
from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task

SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}


def test_the_command_trains_from_an_export_and_its_rollouts_are_read(tmp_path, capsys):
    build_tiny_vlm(tmp_path / "model", get_task("sudoku").vocabulary(), **SIZES)
    main(["tasks", "--export", str(tmp_path / "data"), "--n", "8"])
    out = tmp_path / "out"
    config = tmp_path / "grpo.yaml"
    config.write_text(
        f"model: {tmp_path / 'model'}\ndataset: {tmp_path / 'data' / 'train.jsonl'}\n"
        f"output_dir: {out}\ncredit: segment\nalpha: 0.3\nper_device_train_batch_size: 8\n"
        "num_generations: 4\nmax_completion_length: 8\nmax_steps: 2\nlogging_steps: 1\n"
        "use_cpu: true\nbf16: false\ngradient_checkpointing: false\ndisable_tqdm: true\n"
    )
    main(["grpo", "--config", str(config)])
    assert (out / "model.safetensors").is_file() and (out / "processor_config.json").is_file()
    state = json.loads((out / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["log_history"][0]["alpha"] == 0.3
    main(["grpo", "--config", str(config), "--max_steps", "3"])  # goes on
    assert json.loads((out / "checkpoint-3" / "trainer_state.json").read_text())["global_step"] == 3
    main(["coupling", str(out), "--json", str(tmp_path / "coupling.json")])
    assert json.loads((tmp_path / "coupling.json").read_text())["rollouts"] == 24


@pytest.mark.parametrize(
    "path, sentence",
    [
        ("percbal.rewards.nothing", "no reward function percbal.rewards.nothing: .*no attribute"),
        ("nowhere.at.all", "there is no reward function nowhere.at.all: No module named 'nowhere'"),
        ("outcome", "there is no reward function outcome"),
        ("percbal.rewards.__name__", "is no function but str"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path, sentence):
    with pytest.raises(ValueError, match=sentence):
        reward_function(path)
