"""Facts about GRPO with more segments than perception and reasoning."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm

from percbal.grpo.refusals import refuse_unsupported

THREE = {"perception": 0.5, "answer": 0.2, "reasoning": 0.3}


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """One that answers by chance."""
    words = ["look", *rl.TAGS, "<answer>", "</answer>", "yes", "red"]
    sizes = {"image_size": 32, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32}
    folder = tmp_path_factory.mktemp("policy")
    return rl.load_vlm(rl.build_tiny_vlm(folder, words, init_std=0.1, **sizes))


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_each_segment_is_averaged_for_itself(policy, loss_type, tmp_path):
    """The policy loss at ratio 1 is minus the advantages' means, by hand from the plain batch."""
    options = {"credit": "segment", "alpha": 0.5, "loss_type": loss_type}
    names = ",".join(THREE)
    plain, batch, segments = rl.rollouts(
        policy, tmp_path, balance="token_mean", segments=names, **options
    )
    trainer, balanced, again = rl.rollouts(policy, tmp_path, segments=THREE, **options)
    assert torch.equal(segments, again) and all((segments == s).any() for s in range(3))
    advantages, mask = batch["advantages"], batch["completion_mask"]
    expected = torch.zeros(())
    for s, weight in enumerate(THREE.values()):
        here = segments == s
        if loss_type == "dapo":
            expected = expected - weight * advantages[here].mean()
            continue
        for row, there in zip(advantages, here, strict=True):
            if there.any():
                expected = expected - weight * row[there].mean() / len(segments)
    trainer.model.eval()  # the whole batch at once
    loss = trainer._compute_loss(trainer.model, balanced)
    torch.testing.assert_close(loss.detach(), expected, atol=1e-6, rtol=1e-4)
    logged = [plain._metrics["train"][f"segments/{name}_share"] for name in THREE]
    shares = [float((segments == s).sum() / mask.sum()) for s in range(3)]
    assert [share for (share,) in logged] == pytest.approx(shares)


def test_only_the_perception_has_the_perception_advantage(policy, tmp_path):
    options = {"credit": "segment", "balance": "token_mean"}
    _, two, of_two = rl.rollouts(policy, tmp_path, **options)
    # ids are positions among the names: perception is 2 here
    _, more, segments = rl.rollouts(
        policy, tmp_path, segments="answer,reasoning,perception", **options
    )
    assert torch.equal(segments == 2, of_two == 0) and (segments == 0).any()
    assert torch.equal(two["advantages"], more["advantages"])


def test_a_run_trains_and_one_with_other_segments_does_not_go_on_from_it(policy, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2, "credit": "segment"}
    trainer = rl.train(policy, tmp_path, segments=THREE, **options)
    assert vlm.largest_difference(trainer.model, policy[0]) > 0
    state = json.loads((tmp_path / "checkpoint-2" / "alpha_state.json").read_text())
    assert state["segment_names"] == [*THREE]
    shutil.copytree(tmp_path / "checkpoint-2", tmp_path / "other" / "checkpoint-2")
    made = rl.trainer((copy.deepcopy(policy[0]), policy[1]), tmp_path / "other", **options)
    with pytest.raises(
        ValueError, match="has the segments perception, answer, reasoning, this run"
    ):
        made.train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"segments": "perception,answer"}, "must name perception and reasoning and not prompt"),
        ({"segments": "perception,reasoning,prompt"}, "must name perception and reasoning and not"),
        (
            {"segments": "perception,answer,reasoning", "credit": "segment"},
            "needs the weight of ev",
        ),
        (
            {"segments": THREE, "balance": "token_mean"},
            "every token alike, got the weights perception",
        ),
    ],
)
def test_segments_that_credit_has_no_use_for_are_refused(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        rl.BalancedGRPOConfig(str(tmp_path), **(rl.OPTIONS | options))


def test_weights_are_refused_by_losses_with_one_advantage_per_rollout(tmp_path):
    options = rl.OPTIONS | {"segments": THREE, "credit": "scalar", "loss_type": "vespo"}
    with pytest.raises(ValueError, match="does not support loss_type='vespo'"):
        refuse_unsupported(rl.BalancedGRPOConfig(str(tmp_path), **options), {})
