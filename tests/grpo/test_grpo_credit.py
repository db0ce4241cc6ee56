"""Facts about BalancedGRPOTrainer: what tokens are credited with, what is learned and logged."""

from __future__ import annotations

import json
import math

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm

from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.segments.tagged import PERCEPTION, REASONING

# --- what the tokens are credited with -----------------------------------------------------------


def test_each_token_has_the_advantage_of_its_segment(policy, tmp_path):
    trainer, batch, segments = rl.rollouts(
        policy, tmp_path, credit="segment", alpha=0.5, balance="token_mean"
    )
    assert (segments == PERCEPTION).any(1).sum() >= 3, "the policy should write some perceptions"
    a, p = trainer._rewards.unbind(1)

    def z(r):
        groups = r.view(2, 32)
        return (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)

    expected = {PERCEPTION: z(0.5 * p + 0.5 * a).view(-1), REASONING: z(a).view(-1)}
    for segment, values in expected.items():
        here = segments == segment
        torch.testing.assert_close(
            batch["advantages"][here], values[:, None].expand_as(here)[here], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_each_segment_is_averaged_for_itself(policy, loss_type, tmp_path):
    """The policy loss at ratio 1 is minus the mean advantage: here lambda of each segment's."""
    options = {"credit": "segment", "alpha": 0.5, "loss_type": loss_type}
    plain, batch, segments = rl.rollouts(policy, tmp_path, balance="token_mean", **options)
    trainer, balanced, _ = rl.rollouts(policy, tmp_path, balance="fixed", lam=0.8, **options)
    assert torch.equal(batch["completion_ids"], balanced["completion_ids"])
    advantages = batch["advantages"]
    if loss_type == "dapo":
        means = [advantages[segments == s].mean() for s in (PERCEPTION, REASONING)]
        expected = -(0.8 * means[0] + 0.2 * means[1])
    else:
        expected = torch.zeros(())
        for row, ids in zip(advantages, segments, strict=True):
            for s, weight in ((PERCEPTION, 0.8), (REASONING, 0.2)):
                if (ids == s).any():
                    expected = expected - weight * row[ids == s].mean() / len(segments)
    trainer.model.eval()  # the whole batch at once
    loss = trainer._compute_loss(trainer.model, balanced)
    torch.testing.assert_close(loss.detach(), expected, atol=1e-6, rtol=1e-4)


def test_the_log_knows_how_much_a_perception_token_counts(policy, tmp_path):
    """By the averages of the losses, beside a token of the reasoning: k of docs/theory.md (P4)."""
    for options in ({"balance": "fixed", "lam": 0.8}, {"balance": "token_mean"}):
        trainer, batch, segments = rl.rollouts(policy, tmp_path, credit="segment", **options)
        seen = int((segments == PERCEPTION).sum())
        others = int(batch["completion_mask"].sum()) - seen
        k = 0.8 / 0.2 * others / seen if "lam" in options else 1.0
        assert trainer._coupling["train"].plasticity == pytest.approx(k)


@pytest.mark.parametrize(
    ("scale", "own", "foretold"), [(True, 1, 1), ("batch", 0, 1), (False, 0, 0)]
)
def test_the_log_knows_how_rewards_are_divided(policy, tmp_path, scale, own, foretold):
    """Silent groups add to a speed only if their own spread divides them; `none` has no speed."""
    log = rl.rollouts(policy, tmp_path, scale_rewards=scale)[0]._coupling["train"]
    assert (log.own_spread, log.credit is not None) == (bool(own), bool(foretold))


def test_a_batch_without_any_perception_trains(policy, tmp_path):
    trainer = rl.train(policy, tmp_path, max_completion_length=1, perception_reward="perception")
    assert all(e["segments/parse_fail"] == 1 for e in trainer.state.log_history if "alpha" in e)
    assert vlm.largest_difference(trainer.model, policy[0]) > 0


def test_completions_cut_by_the_length_limit_are_trained_on(policy, tmp_path):
    trainer, batch, segments = rl.rollouts(policy, tmp_path, max_completion_length=3)
    cut = batch["completion_mask"].all(1) & (batch["completion_ids"][:, -1] > 3)
    assert cut.any()
    assert batch["advantages"].shape == batch["completion_ids"].shape == (64, 3)


class OftenTheSame(BalancedGRPOTrainer):
    """Of the first group's 32 rollouts 24 perceived as another did, of the second's none."""

    def _perception_keys(self):
        keys = torch.arange(64)
        return torch.where(keys < 32, keys % 20, keys)


def test_the_log_has_the_share_of_rollouts_whose_reasoning_is_compared(policy, tmp_path):
    trainer, batch, segments = rl.rollouts(
        policy, tmp_path, kind=OftenTheSame, credit="same_perception", balance="token_mean"
    )
    assert trainer._metrics["train"]["segments/compared"] == [24 / 64]
    alone = torch.tensor([*range(12, 20), *range(32, 64)])
    assert not batch["advantages"][alone][segments[alone] == REASONING].any()
    other, _, _ = rl.rollouts(policy, tmp_path, credit="segment")
    assert "segments/compared" not in other._metrics["train"]


# --- learning ------------------------------------------------------------------------------------


def test_a_toy_reward_is_learned_in_a_few_updates(policy, tmp_path):
    trainer = rl.train(
        policy,
        tmp_path,
        per_device_train_batch_size=32,
        num_generations=16,
        max_completion_length=4,
        max_steps=12,
        learning_rate=2e-2,
        rewards=[rl.lambda_named("outcome", lambda found: float(found[:1] == ["yes"]))],
        credit="same_perception",
        alpha=0.0,
    )
    rewards = [e["rewards/outcome/mean"] for e in trainer.state.log_history if "alpha" in e]
    assert sum(rewards[:2]) / 2 < 0.35 and sum(rewards[-2:]) / 2 > 0.9


def test_a_learning_rate_of_zero_changes_nothing(policy, tmp_path):
    trainer = rl.train(policy, tmp_path, learning_rate=0.0)
    assert vlm.largest_difference(trainer.model, policy[0]) == 0.0


# --- logs ----------------------------------------------------------------------------------------


def test_the_log_has_the_coupling(policy, tmp_path):
    trainer = rl.train(
        policy,
        tmp_path,
        [rl.outcome, rl.perception, rl.lambda_named("truth", lambda found: float(len(found) > 8))],
        per_device_train_batch_size=16,
        num_generations=8,
        true_perception="truth",
        measured=[],
        alpha=0.3,
    )
    entry = next(e for e in trainer.state.log_history if "alpha" in e)
    for name in (
        "coupling/r_outcome_perception",
        "coupling/r_perception_perception",
        "coupling/conflict_rate",
        "coupling/silent_groups",
        "segments/parse_fail",
        "segments/perception_share",
        "rewards/outcome/unscored",
    ):
        assert math.isfinite(entry[name]), name
    assert entry["alpha"] == 0.3
    mixed = 0.7 * entry["rewards/outcome/mean"] + 0.3 * entry["rewards/perception/mean"]
    assert entry["reward"] == pytest.approx(mixed, abs=1e-4)


def test_saved_completions_are_read_by_the_coupling_command(policy, tmp_path, capsys):
    from percbal.cli.main import main

    # two logs for each batch of rollouts
    options = {"max_steps": 4, "num_iterations": 2, "num_completions_to_print": 0}
    rl.train(policy, tmp_path, log_completions=True, **options)
    report = tmp_path / "report.json"
    main(["coupling", str(tmp_path), "--json", str(report)])
    found = json.loads(report.read_text())
    # the prompts have one text; two batches of two groups of four
    assert found["rollouts"] == 16 and found["signal"]["groups"] == [4]
    assert "outcome" in capsys.readouterr().out


def test_alpha_follows_the_coupling_and_never_leaves_its_range(policy, tmp_path):
    trainer = rl.train(
        policy,
        tmp_path,
        alpha=0.5,
        alpha_rule="coupling",
        alpha_min=0.2,
        alpha_max=0.7,
        max_steps=6,
        per_device_train_batch_size=32,
        num_generations=16,
    )
    values = [entry["alpha"] for entry in trainer.state.log_history if "alpha" in entry]
    assert values[0] == 0.5 and len(set(values)) > 2
    assert all(0.2 <= value <= 0.7 for value in values)


# --- rewards that need the policy ----------------------------------------------------------------


@pytest.mark.parametrize("blind_from", ["text", "continue"])
def test_blind_answers_come_from_the_perception_alone(policy, blind_from, tmp_path):
    seen = []

    def blind_reanswer(completions, blind_answers, **_):
        seen.extend(zip(rl.words(completions), blind_answers, strict=True))
        return [0.0 if answers is None else 0.5 for answers in blind_answers]

    trainer, _, _ = rl.rollouts(
        policy,
        tmp_path,
        rewards=[rl.outcome, blind_reanswer],
        perception_reward="blind_reanswer",
        blind_samples=2,
        blind_from=blind_from,
    )
    for i, (found, answers) in enumerate(seen):
        perceived = trainer._segmented.perception[i]
        if perceived is None:
            assert answers is None
        else:
            assert len(answers) == 2
            if blind_from == "continue":
                end = found.index("</perception>") + 1
                assert all(answer.split()[:end] == found[:end] for answer in answers)
    assert any(answers is not None for _, answers in seen)


def test_the_dependence_on_the_image_is_measured(policy, tmp_path):
    seen = []

    def masked_image_kl(masked_image_kl, **_):
        seen.extend(masked_image_kl)
        return masked_image_kl

    rl.rollouts(
        policy,
        tmp_path,
        rewards=[rl.outcome, masked_image_kl],
        perception_reward="masked_image_kl",
    )
    assert len(seen) == 64 and min(seen) >= 0 and max(seen) > 0
