"""Facts about BalancedGRPOTrainer: it is TRL's where it should be, and credits where it says."""

from __future__ import annotations

import copy
import json
import math

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm
from datasets import Dataset, IterableDataset
from trl import GRPOConfig, GRPOTrainer

from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.segments.tagged import PERCEPTION, REASONING


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return rl.tiny_policy(tmp_path_factory.mktemp("policy"))


def train(policy, out, rewards=None, **options) -> BalancedGRPOTrainer:
    torch.manual_seed(0)
    model, processor = policy
    trainer = rl.trainer((copy.deepcopy(model), processor), out, rewards, **options)
    trainer.train()
    return trainer


def stock(policy, out, **options) -> GRPOTrainer:
    torch.manual_seed(0)
    model, processor = policy
    unwanted = {"suppress_tokens": [processor.image_token_id]}
    args = GRPOConfig(str(out), **(rl.OPTIONS | {"generation_kwargs": unwanted} | options))
    trainer = GRPOTrainer(
        copy.deepcopy(model),
        [rl.outcome, rl.perception],
        args,
        train_dataset=rl.prompts(),
        processing_class=processor,
    )
    trainer.train()
    return trainer


LOSSES = [
    {"loss_type": "dapo"},
    {"loss_type": "grpo"},
    {"loss_type": "dr_grpo"},
    {"loss_type": "dapo", "num_iterations": 2},
    {"loss_type": "grpo", "gradient_accumulation_steps": 2, "steps_per_generation": 4},
    {"loss_type": "dapo", "beta": 0.5},
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: "-".join(map(str, loss.values())))
def test_scalar_credit_is_stock_grpo(policy, loss, tmp_path):
    theirs = stock(policy, tmp_path, reward_weights=[0.75, 0.25], **loss)
    ours = train(policy, tmp_path, credit="scalar", alpha=0.25, logprobs="trl", **loss)
    assert vlm.largest_difference(theirs.model, policy[0]) > 1e-3
    assert vlm.largest_difference(ours.model, theirs.model) == 0.0


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: "-".join(map(str, loss.values())))
def test_equal_segment_advantages_are_stock_grpo(policy, loss, tmp_path):
    """At alpha 0 both segments have the outcome's advantage, now (B, T)."""
    theirs = stock(policy, tmp_path, reward_weights=[1.0, 0.0], **loss)
    ours = train(
        policy,
        tmp_path,
        credit="segment",
        balance="token_mean",
        alpha=0.0,
        logprobs="trl",
        **loss,
    )
    assert ours._buffered_inputs[0]["advantages"].dim() == 2
    assert vlm.largest_difference(ours.model, theirs.model) == 0.0


def test_normalized_credit_is_trls(policy, tmp_path):
    theirs = stock(
        policy,
        tmp_path,
        reward_weights=[0.6, 0.4],
        multi_objective_aggregation="normalize_then_sum",
    )
    ours = train(policy, tmp_path, credit="normalized", alpha=0.4, logprobs="trl")
    assert vlm.largest_difference(ours.model, theirs.model) < 1e-6


def test_our_log_probabilities_train_like_trls(policy, tmp_path):
    by_trl, by_percbal = (
        train(policy, tmp_path, learning_rate=1e-3, logprobs=how, temperature=0.7, beta=0.5)
        for how in ("trl", "percbal")
    )
    # a twentieth of one step of Adam, which takes small gradients as seriously as large ones
    assert vlm.largest_difference(by_trl.model, by_percbal.model) < 5e-5
    for name in ("entropy", "kl"):
        values = [
            [entry[name] for entry in trainer.state.log_history if name in entry]
            for trainer in (by_trl, by_percbal)
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-6) and values[0][-1] > 0


def test_log_probabilities_of_sampling_are_those_of_training(policy, tmp_path):
    """What generate drew from is what the loss differentiates, up to the banned image token."""
    trainer = rl.trainer((copy.deepcopy(policy[0]), policy[1]), tmp_path)
    trainer.model.eval()
    ids, _, fields = trainer._tokenize_prompts(
        [
            [{"role": "user", "content": [{"type": "image", "image": row["image"]}]}]
            for row in rl.prompts(4)
        ]
    )
    prompt = torch.tensor(ids)
    inputs = {name: torch.as_tensor(value) for name, value in fields.items()}
    drawn = trainer.model.generate(
        prompt,
        **inputs,
        generation_config=trainer.generation_config,
        output_scores=True,
        return_dict_in_generate=True,
    )
    completion = drawn.sequences[:, prompt.shape[1] :]
    scores = torch.stack(drawn.scores, 1).log_softmax(-1)  # (B, T, V)
    sampled = scores.gather(-1, completion[..., None])[..., 0]
    mask = completion != policy[1].tokenizer.pad_token_id
    with torch.no_grad():
        trained, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            drawn.sequences,
            torch.ones_like(drawn.sequences),
            completion.shape[1],
            num_images=[1] * len(prompt),
            **inputs,
        )
        logits = trainer.model(drawn.sequences, **inputs).logits[:, prompt.shape[1] - 1 : -1]
    banned = logits.log_softmax(-1)[..., policy[1].image_token_id].exp()
    # sampling renormalises without the image token
    torch.testing.assert_close(
        (sampled + torch.log1p(-banned))[mask], trained[mask], atol=2e-5, rtol=0
    )


# --- what the tokens are credited with -----------------------------------------------------------


def rollouts(policy, tmp_path, **options):
    """A trainer, its first batch, and the segment of each token of it, (B, T)."""
    options = {"per_device_train_batch_size": 64, "num_generations": 32} | options
    trainer = rl.trainer((copy.deepcopy(policy[0]), policy[1]), tmp_path, **options)
    trainer.model.train()
    rows = [row for row in rl.prompts(2) for _ in range(32)]
    torch.manual_seed(0)
    batch = trainer._generate_and_score_completions(rows)
    segments = torch.full(batch["completion_ids"].shape, -1)
    for i, ids in enumerate(trainer._segmented.segments):
        segments[i, : len(ids)] = torch.as_tensor(ids)
    return trainer, batch, segments


def test_each_token_has_the_advantage_of_its_segment(policy, tmp_path):
    trainer, batch, segments = rollouts(
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
    plain, batch, segments = rollouts(policy, tmp_path, balance="token_mean", **options)
    trainer, balanced, _ = rollouts(policy, tmp_path, balance="fixed", lam=0.8, **options)
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


def test_a_batch_without_any_perception_trains(policy, tmp_path):
    trainer = train(policy, tmp_path, max_completion_length=1, perception_reward="perception")
    assert all(e["segments/parse_fail"] == 1 for e in trainer.state.log_history if "alpha" in e)
    assert vlm.largest_difference(trainer.model, policy[0]) > 0


def test_completions_cut_by_the_length_limit_are_trained_on(policy, tmp_path):
    trainer, batch, segments = rollouts(policy, tmp_path, max_completion_length=3)
    cut = batch["completion_mask"].all(1) & (batch["completion_ids"][:, -1] > 3)
    assert cut.any()
    assert batch["advantages"].shape == batch["completion_ids"].shape == (64, 3)


# --- learning ------------------------------------------------------------------------------------


def test_a_toy_reward_is_learned_in_a_few_updates(policy, tmp_path):
    trainer = train(
        policy,
        tmp_path,
        per_device_train_batch_size=32,
        num_generations=16,
        max_completion_length=4,
        max_steps=12,
        learning_rate=2e-2,
        rewards=[lambda_named("outcome", lambda found: float(found[:1] == ["yes"]))],
        credit="same_perception",
        alpha=0.0,
    )
    rewards = [e["rewards/outcome/mean"] for e in trainer.state.log_history if "alpha" in e]
    assert sum(rewards[:2]) / 2 < 0.35 and sum(rewards[-2:]) / 2 > 0.9


def lambda_named(name, read):
    def reward(completions, **_):
        return [read(found) for found in rl.words(completions)]

    reward.__name__ = name
    return reward


def test_a_learning_rate_of_zero_changes_nothing(policy, tmp_path):
    trainer = train(policy, tmp_path, learning_rate=0.0)
    assert vlm.largest_difference(trainer.model, policy[0]) == 0.0


# --- logs ----------------------------------------------------------------------------------------


def test_the_log_has_the_coupling(policy, tmp_path):
    trainer = train(
        policy,
        tmp_path,
        [rl.outcome, rl.perception, lambda_named("truth", lambda found: float(len(found) > 8))],
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
    train(policy, tmp_path, log_completions=True, **options)
    report = tmp_path / "report.json"
    with pytest.raises(SystemExit) as stopped:
        main(["coupling", str(tmp_path), "--json", str(report)])
    assert stopped.value.code == 0
    found = json.loads(report.read_text())
    # the prompts have one text; two batches of two groups of four
    assert found["rollouts"] == 16 and found["signal"]["groups"] == [4]
    assert "outcome" in capsys.readouterr().out


def test_alpha_follows_the_coupling_and_never_leaves_its_range(policy, tmp_path):
    trainer = train(
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

    trainer, _, _ = rollouts(
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

    rollouts(
        policy,
        tmp_path,
        rewards=[rl.outcome, masked_image_kl],
        perception_reward="masked_image_kl",
    )
    assert len(seen) == 64 and min(seen) >= 0 and max(seen) > 0


# --- rewards that go wrong -----------------------------------------------------------------------


def fails_at(call: int):
    calls = []

    def perception(completions, **_):
        calls.append(len(completions))
        if len(calls) == call:
            raise KeyError("grid")
        return [1.0] * len(completions)

    return perception


def test_a_failing_reward_stops_the_run_and_loses_nothing(policy, tmp_path):
    from percbal.grpo.guard import RewardError
    from percbal.models.resume import last_checkpoint

    sentence = r"reward function perception failed: KeyError: 'grid' after step 1; the rollouts are"
    with pytest.raises(RewardError, match=sentence) as stopped:
        train(policy, tmp_path, [rl.outcome, fails_at(2)], save_strategy="steps", save_steps=50)
    assert isinstance(stopped.value.__cause__, KeyError), "with the place where it was raised"
    rows = (tmp_path / "failed_step00001_rank0.jsonl").read_text().splitlines()
    assert len(rows) == 8 and json.loads(rows[0])["completion"][0]["content"]
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
    trainer = rl.trainer((copy.deepcopy(policy[0]), policy[1]), tmp_path)
    trainer.train(resume_from_checkpoint=last_checkpoint(tmp_path))
    assert trainer.state.global_step == 3


def test_a_failing_reward_can_be_skipped_and_is_counted(policy, tmp_path):
    trainer = train(policy, tmp_path, [rl.outcome, fails_at(2)], on_reward_error="skip")
    entries = [e for e in trainer.state.log_history if "alpha" in e]
    assert [e["rewards/failed_calls"] for e in entries] == [0, 1, 0]
    assert [e["rewards/perception/unscored"] for e in entries] == [0, 1, 0]
    assert entries[1]["grad_norm"] == 0, "no rollout has a mixed reward"


def test_unscored_rollouts_are_counted_and_have_no_advantage(policy, tmp_path):
    def outcome(completions, **_):
        return [None if i % 4 == 0 else float(i % 4) for i in range(len(completions))]

    trainer, batch, _ = rollouts(policy, tmp_path, rewards=[outcome, rl.perception])
    assert not batch["advantages"][::4].any() and batch["advantages"][1].any()
    assert trainer._metrics["train"]["rewards/outcome/unscored"] == [0.25]


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"credit": "blame"}, "credit must be one of scalar, .*, got 'blame'"),
        ({"alpha": 1.5}, "alpha must be between 0 and 1, got 1.5"),
        ({"loss_type": "vespo"}, "does not support loss_type='vespo'"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level='sequence'"),
        ({"perception_reward": "eyes"}, "names the reward function 'eyes', but there are only"),
        ({"true_reasoning": "mind"}, "true_reasoning names the reward function 'mind'"),
        ({"perception_tags": ["<p>"]}, "perception_tags must be two strings, got"),
        ({"outcome_reward": "perception"}, "are both 'perception'; they must be two functions"),
        ({"alpha_rule": "coupling", "alpha_min": 0.9}, "alpha_min and alpha_max must be in order"),
        ({"reward_timeout": 0.0}, "reward_timeout must be positive, got 0.0"),
        ({"cast_lm_head_to_fp32": True}, "set logprobs='trl': .* of one dtype"),
    ],
)
def test_options_that_do_not_go_together_are_refused(policy, options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        rl.trainer(policy, tmp_path, **options)


def test_vllm_with_images_is_refused():
    from percbal.grpo.config import BalancedGRPOConfig
    from percbal.grpo.refusals import refuse_vllm_with_images

    args = BalancedGRPOConfig("unused", use_cpu=True, bf16=False, use_vllm=True)
    rows = [{"prompt": "a", "image": "b"}]
    streams = [IterableDataset.from_generator(lambda: iter(rows)), Dataset.from_list(rows)]
    for dataset in streams:
        with pytest.raises(ValueError, match="huggingface/trl#6294"):
            refuse_vllm_with_images(args, dataset)
        refuse_vllm_with_images(args, dataset.map(lambda row: row, remove_columns="image"))
    inside = {"role": "user", "content": [{"type": "image", "image": "b"}]}
    with pytest.raises(ValueError, match="huggingface/trl#6294"):
        # rows of text alone may come first
        refuse_vllm_with_images(
            args, Dataset.from_list([{"prompt": []}] * 3 + [{"prompt": [inside]}])
        )


def test_agreement_over_split_groups_is_refused():
    from percbal.grpo.config import BalancedGRPOConfig
    from percbal.grpo.refusals import refuse_split_groups

    options = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 6}
    args = BalancedGRPOConfig("unused", num_generations=3, **options)
    refuse_split_groups(args, ["group_agreement"], 2)
    args.num_generations = 4
    refuse_split_groups(args, ["outcome"], 2)
    refuse_split_groups(args, ["group_agreement"], 1)
    with pytest.raises(ValueError, match="6 rollouts per process are no multiple of num_gener.*=4"):
        refuse_split_groups(args, ["group_agreement"], 2)
