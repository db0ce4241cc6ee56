"""Facts about the data sets of GRPO: held out for evaluation, streamed, and without images."""

from __future__ import annotations

import copy

import pytest
import rl_fixtures as rl
import torch
import vlm_fixtures as vlm
from datasets import IterableDataset

from percbal.grpo.config import BalancedGRPOConfig
from percbal.grpo.trainer import BalancedGRPOTrainer
from percbal.rewards import masked_image_kl


def trainer(policy, out, rewards, data, held_out=None, **options) -> BalancedGRPOTrainer:
    torch.manual_seed(0)
    return BalancedGRPOTrainer(
        copy.deepcopy(policy[0]),
        rewards,
        BalancedGRPOConfig(str(out), **(rl.OPTIONS | options)),
        train_dataset=data,
        eval_dataset=held_out,
        processing_class=policy[1],
    )


def test_evaluation_has_groups_of_its_own_and_moves_nothing(policy, tmp_path):
    sizes = []

    def outcome(completions, prompts, **columns):
        sizes.append(len(completions))
        return rl.outcome(completions, **columns)

    options = {"num_generations_eval": 2, "per_device_eval_batch_size": 6, "loss_type": "grpo"}
    evaluating = trainer(
        policy,
        tmp_path,
        [outcome, rl.perception],
        rl.prompts(),
        rl.prompts(6),
        alpha_rule="coupling",
        **options,
    )
    found = evaluating.evaluate()
    assert sizes == [6, 6], "six prompts, two rollouts of each, six at a time"
    assert 0 <= found["eval_coupling/silent_groups"] <= 1 and found["eval_alpha"] == 0.5
    assert evaluating.alpha.means is None and evaluating.alpha.value == 0.5
    assert vlm.largest_difference(evaluating.model, policy[0]) == 0.0


def test_predict_and_several_sets_have_metrics_of_their_own(policy, tmp_path):
    def outcome(completions, **_):
        return [float(len(completions))] * len(completions)  # 8 or 4: which set is asked about

    options = {"num_generations_eval": 2, "per_device_eval_batch_size": 8}
    rewards = [outcome, rl.perception]
    held_out = {"a": rl.prompts(4), "b": rl.prompts(2)}
    evaluating = trainer(policy, tmp_path, rewards, rl.prompts(), held_out, **options)
    predicted = evaluating.predict(held_out["b"]).metrics
    found = evaluating.evaluate()
    assert predicted["test_rewards/outcome/mean"] == found["eval_b_rewards/outcome/mean"] == 4
    assert found["eval_a_rewards/outcome/mean"] == 8 and found["eval_a_alpha"] == 0.5
    assert not {name for name in found if name.startswith(("eval_rewards", "test_"))}


def test_a_stream_of_prompts_without_images_trains(policy, tmp_path):
    def rows():
        for i in range(64):
            asked = [{"role": "user", "content": "look yes" if i % 2 else "look no"}]
            yield {"prompt": asked, "answer": rl.WORDS[i % 2]}

    data = IterableDataset.from_generator(rows)
    assert data.column_names is None
    rewards = [rl.outcome, rl.perception, masked_image_kl]
    streaming = trainer(policy, tmp_path, rewards, data, measured=["masked_image_kl"], max_steps=2)
    streaming.train()
    entries = [e for e in streaming.state.log_history if "alpha" in e]
    assert [e["rewards/masked_image_kl/mean"] for e in entries] == [0, 0]
    assert vlm.largest_difference(streaming.model, policy[0]) > 1e-3


def of_text(name):
    def reward(completions, **_):
        return [float(len(text)) for text in completions]

    reward.__name__ = name
    return reward


@pytest.mark.parametrize("messages", [True, False])
@pytest.mark.parametrize("column", ["image", "images"])
def test_rows_whose_image_is_none_are_rows_of_text(policy, column, messages, tmp_path):
    rows = [{**row, "image": None} for row in rl.prompts(2) for _ in range(4)]
    rewards = [rl.outcome, rl.perception]
    if not messages:
        rows = [{**row, "prompt": "look yes"} for row in rows]
        rewards = [of_text("outcome"), of_text("perception")]
    if column == "images":
        rows = [{"images": row.pop("image"), **row} for row in rows]
    asking = trainer(policy, tmp_path, rewards, rl.prompts())
    batch = asking._generate_and_score_completions(rows)
    assert "pixel_values" not in batch and len(batch["completion_ids"]) == 8


def test_tables_have_the_images_of_every_row(policy, tmp_path):
    rows = [row for row in rl.prompts(2) for _ in range(4)]
    asking = trainer(policy, tmp_path, [rl.outcome, rl.perception], rl.prompts())
    assert not asking.log_multimodal, "TRL's own"
    asking._shows_images = True  # as with a logger that has tables
    asking._generate_and_score_completions(rows[:4] + [{**row, "image": None} for row in rows[4:]])
    assert [len(shown) for shown in asking._logs["images"]] == [1] * 4 + [0] * 4


@pytest.mark.parametrize("images", [0, 2])
def test_image_parts_and_images_must_be_as_many(policy, tmp_path, images):
    part = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look"}]}
    pictures = [row["image"] for row in rl.prompts(2)]
    rows = [
        {"prompt": [part], "images": pictures[:n], "answer": "yes", "id": f"row-{n}"}
        for n in (1, images)
    ]
    unequal = trainer(policy, tmp_path, [rl.outcome, rl.perception], rl.prompts())
    sentence = f"example row-{images}: its messages have 1 image parts, and the row has {images}"
    with pytest.raises(ValueError, match=sentence):
        unequal._generate_and_score_completions([row for row in rows for _ in range(4)])
