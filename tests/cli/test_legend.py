"""Facts about the legend of a log: the docs say the same, and every name that is logged has one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from percbal.cli.legend import DIAGNOSIS, GRPO, OF_COMMAND, SFT, table
from percbal.cli.main import main
from percbal.models.tiny import build_tiny_vlm
from percbal.tasks import get_task
from percbal.tasks.preview import export_jsonl

DOCS = Path(__file__).parents[2] / "docs"
SIZES = {"hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
OPTIONS = {
    "sft": ["--balance", "ngdiff"],
    "grpo": ["--num_generations", "2", "--max_completion_length", "4"],
}
OF_TRL = {  # and of transformers
    "sft": r"(grad_norm|learning_rate|epoch|step|total_flos|train_\w+)",
    "grpo": r"(loss|num_tokens|grad_norm|learning_rate|epoch|step|step_time|total_flos|train_\w+|"
    r"completions/\w+|rewards/\w+/(mean|std)|reward|reward_std|frac_reward_zero_std|entropy|"
    r"clip_ratio/\w+)",
}


@pytest.mark.parametrize("page, rows", [("train", SFT), ("train", DIAGNOSIS), ("reinforce", GRPO)])
def test_a_page_has_the_rows_of_the_legend(page, rows):
    lines = (DOCS / f"{page}.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")][:2] for line in lines]
    wanted = table(rows)
    assert any(cells[i : i + len(wanted)] == wanted for i in range(len(cells)))
    first = cells.index(wanted[0])
    assert not lines[first + len(wanted)].startswith("|"), "the page has a row more"


@pytest.mark.parametrize("command", OF_COMMAND)
def test_every_name_logged_has_its_meaning_and_a_terminal_is_told(
    command, tmp_path, capsys, monkeypatch
):
    model = build_tiny_vlm(tmp_path / "model", get_task("sudoku").vocabulary(), **SIZES)
    data = export_jsonl(get_task("sudoku"), "train", 4, tmp_path / "data")
    arguments = ["--model", model, "--dataset", data, "--output_dir", tmp_path / "out"]
    arguments += ["--max_steps", "2", "--per_device_train_batch_size", "2", "--use_cpu"]
    arguments += ["--bf16", "false", "--report_to", "none", "--logging_steps", "1"]
    arguments += ["--diagnose_every", "2", "--diagnose_n", "1", "--diagnose_option", "size=4"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main([command, *map(str, arguments), *OPTIONS[command]])
    said = capsys.readouterr().out
    state = json.loads((tmp_path / "out" / "checkpoint-2" / "trainer_state.json").read_text())
    logged = {name for entry in state["log_history"] for name in entry}
    names = [name for row, _ in (*OF_COMMAND[command], *DIAGNOSIS) for name in row]
    patterns = [re.sub(r"<\w+>", r"\\w+", name) for name in names] + [OF_TRL[command]]
    assert not {n for n in logged if not any(re.fullmatch(p, n) for p in patterns)}
    assert said.count("Logged beside TRL's names") == 1 and all(name in said for name in names)
    assert {"diagnosis/a", "diagnosis/a_p", "diagnosis/a_r"} <= logged
    if command == "sft":
        always = {name for name in names if "<" not in name and "_head_" not in name}
        assert always - {"diagnosis/unreadable"} <= logged
