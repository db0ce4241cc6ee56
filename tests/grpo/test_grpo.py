"""Where nothing is asked for but what TRL does, BalancedGRPOTrainer is TRL's trainer."""

from __future__ import annotations

import copy

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm
from trl import GRPOConfig, GRPOTrainer


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
    ours = rl.train(policy, tmp_path, credit="scalar", alpha=0.25, logprobs="trl", **loss)
    assert vlm.largest_difference(theirs.model, policy[0]) > 1e-3
    assert vlm.largest_difference(ours.model, theirs.model) == 0.0


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: "-".join(map(str, loss.values())))
def test_equal_segment_advantages_are_stock_grpo(policy, loss, tmp_path):
    """At alpha 0 both segments have the outcome's advantage, now (B, T)."""
    theirs = stock(policy, tmp_path, reward_weights=[1.0, 0.0], **loss)
    ours = rl.train(
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
    ours = rl.train(policy, tmp_path, credit="normalized", alpha=0.4, logprobs="trl")
    assert vlm.largest_difference(ours.model, theirs.model) < 1e-6


def test_our_log_probabilities_train_like_trls(policy, tmp_path):
    by_trl, by_percbal = (
        rl.train(policy, tmp_path, learning_rate=1e-3, logprobs=how, temperature=0.7, beta=0.5)
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
    inputs = {  # a list of arrays, with torchvision of tensors
        name: torch.stack([torch.as_tensor(row) for row in value]) for name, value in fields.items()
    }
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
