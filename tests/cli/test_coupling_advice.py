"""Facts about what `percbal coupling` advises of saved rollouts."""

from __future__ import annotations

import json

import pytest
import torch
from test_coupling_cli import call

CELLS, SIZE = 16, 16


def advice(tmp_path, capsys, columns, size=SIZE, outcomes=("outcome",)):
    """As JSON, and all that is printed of it."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path = tmp_path / "rollouts.jsonl"
    path.write_text(
        "".join(json.dumps({"group": i // size, **r}) + "\n" for i, r in enumerate(rows))
    )
    options = [word for name in outcomes for word in ("--outcome", name)]
    assert call(path, *options, "--json", tmp_path / "out.json") == 0
    printed = " ".join(capsys.readouterr().out.split())
    return json.loads((tmp_path / "out.json").read_text())["advice"], printed


def grids(groups=200, cell=0.84, reasoning=0.7):
    """Rewards of pictures with sixteen cells, each mostly right: wholly right are 6%. Wrong cells
    are mostly wrong alike. Agreement is the share of equal cells, as (A1) of (A3) over cells."""
    draws = torch.Generator().manual_seed(0)
    shape = (groups, SIZE, CELLS)
    right = torch.rand(shape, generator=draws) < cell
    alike = torch.rand(shape, generator=draws) < 0.9
    other = torch.randint(2, 5, shape, generator=draws)
    seen = torch.where(right, 0, torch.where(alike, 1, other))
    equal = (seen[:, :, None] == seen[:, None]).double().mean(-1)  # (groups, SIZE, SIZE)
    exact = right.all(-1)
    answer = exact & (torch.rand(shape[:2], generator=draws) < reasoning)
    columns = {
        "outcome": answer.double(),
        "perception": exact.double(),
        "perception_f1": right.double().mean(-1),
        "group_agreement": (equal.sum(-1) - 1) / (SIZE - 1),
    }
    return {name: values.flatten().tolist() for name, values in columns.items()}


def test_agreement_and_a_dense_reward_on_grids_are_not_spoken_against(tmp_path, capsys):
    """r is above 0.4 of both, as of a dense reward with twice the exact one's signal (P11)."""
    names = ("outcome", "perception_f1", "group_agreement")
    found, printed = advice(tmp_path, capsys, grids(), outcomes=names)
    assert found["mostly_wrong"] == 1.0 and found["agreement"] is None
    assert "Agreement" not in printed and "hardly anything" not in printed
    assert "A dense reward tells" in printed
    for name in names[1:]:
        assert "is graded" in found["other_rewards"][name]
        assert "times the speed" not in found["other_rewards"][name]


def test_agreement_that_does_not_go_with_perception_is_warned_of(tmp_path, capsys):
    columns = grids()
    draws = torch.Generator().manual_seed(1)
    columns["group_agreement"] = torch.rand(len(columns["outcome"]), generator=draws).tolist()
    found, printed = advice(tmp_path, capsys, columns, outcomes=("outcome", "group_agreement"))
    assert "Agreement can harm: in 100% of the groups" in found["agreement"]
    assert found["agreement"] in printed
    assert advice(tmp_path, capsys, columns)[0]["agreement"] is None  # it is not examined


def columns_of(perception, answer):
    return {"perception": perception.double().tolist(), "outcome": answer.double().tolist()}


def test_right_answers_after_wrong_perceptions_are_warned_of_first(tmp_path, capsys):
    draws = torch.Generator().manual_seed(0)
    seen, detail, reasons = (torch.rand(400 * SIZE, generator=draws) < p for p in (0.5, 0.2, 0.8))
    found, printed = advice(tmp_path, capsys, columns_of(seen & detail, seen & reasons))
    assert found["verdict"] == "unknown" and found["segment_speed"] is None
    assert found["wrong_success"] == pytest.approx(0.8, abs=0.02)
    assert "not measured): - 80% of the right answers follow a wrong perception" in printed
    assert "times the outcome's speed" not in printed


@pytest.mark.parametrize("groups, told", [(10, False), (300, True)])
def test_a_conflict_is_told_from_chance(tmp_path, capsys, groups, told):
    """Answers guess better than they reason; in ten groups that can be chance."""
    draws = torch.Generator().manual_seed(1)
    perception = torch.rand(groups * 8, generator=draws) < 0.5
    chance = torch.where(perception, 0.2, 0.3)
    answer = torch.rand(groups * 8, generator=draws) < chance
    found, printed = advice(tmp_path, capsys, columns_of(perception, answer), size=8)
    assert found["verdict"] == "conflict" and found["holds"] is told
    assert ("Right answers go with wrong perceptions" in printed) is told
    assert ("cannot be told: the within-group r is" in printed) is not told


def test_easy_and_hard_prompts_are_not_taken_for_noise(tmp_path, capsys):
    """By the gradient perception has 0.03 of the gain, and a reward on all tokens harms."""
    draws = torch.Generator().manual_seed(0)
    p = torch.tensor([0.05, 0.95]).repeat(400).repeat_interleave(SIZE)
    perception = torch.rand(len(p), generator=draws) < p
    answer = perception & (torch.rand(len(p), generator=draws) < 0.5)
    found, _ = advice(tmp_path, capsys, columns_of(perception, answer))
    assert found["share"] == pytest.approx(0.035, abs=0.01) and found["margin"] < 0
    assert found["verdict"] == "perception_tokens"
