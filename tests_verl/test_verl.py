"""Facts about percbal inside verl 0.9.1, by verl's own functions, on the CPU: `make test-verl`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.workers.rollout.utils import qwen2_5_vl_dedup_image_tokens
from verl_fixtures import EXAMPLES, PERCEPTION, TRUTH, WRONG, config, response, tokenizer

from percbal.adapters.verl.agent_loop import SegmentOutput
from percbal.adapters.verl.token_rewards import NO_SPAN, write

# (perception, outcome, tokens, last token of the perception span) of two groups of four
ROLLOUTS = [
    (1.0, 1.0, 6, 2),
    (1.0, 0.0, 8, 3),
    (0.0, 0.0, 7, 2),
    (0.0, 0.0, 5, NO_SPAN),
    (1.0, 0.0, 6, 1),
    (0.0, 1.0, 4, 2),
    (1.0, 1.0, 8, 4),
    (1.0, 1.0, 8, 4),
]
INDEX = np.array([0, 0, 0, 0, 1, 1, 1, 1])
ALPHA = 0.5


def grpo(values: list[float], scaled: bool = True) -> torch.Tensor:
    """(N,) group z-scores, written down independently of verl."""
    groups = torch.tensor(values).view(2, 4)
    centred = groups - groups.mean(1, keepdim=True)
    return (centred / (groups.std(1, keepdim=True) + 1e-6) if scaled else centred).view(-1)


def v1_batch() -> DataProto:
    """What the V1 trainer hands to its advantage function: no prompts, no reward parts."""
    rewards, mask = torch.zeros(8, 8), torch.zeros(8, 8, dtype=torch.long)
    for i, (p, a, length, end) in enumerate(ROLLOUTS):
        rewards[i, :length] = write(length, ALPHA * p + (1 - ALPHA) * a, a, end)
        mask[i, :length] = 1
    tensors = {"token_level_rewards": rewards, "response_mask": mask}
    return DataProto.from_dict(tensors, non_tensors={"uid": INDEX.astype(object)})


def test_verl_finds_the_plugin_by_its_entry_point():
    assert "percbal" in {entry.name for entry in entry_points(group="verl.plugins")}
    code = (
        "import sys, verl; "
        "from verl.trainer.ppo.core_algos import get_adv_estimator_fn as f; "
        "from verl.experimental.agent_loop.agent_loop import _agent_loop_registry as r; "
        "print(f('percbal_segment').__module__, r['percbal_segment']['_target_'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [
        "percbal.adapters.verl.plugin",
        "percbal.adapters.verl.agent_loop.SegmentAgentLoop",
    ], done.stderr[-2000:]


@pytest.mark.parametrize("scaled", [True, False])
def test_perception_tokens_answer_for_the_mix_and_reasoning_tokens_for_the_outcome(scaled):
    algorithm = config(
        "verl_segment", f"algorithm.norm_adv_by_std_in_grpo={str(scaled).lower()}"
    ).algorithm
    data = compute_advantage_for_multi_trajectories(
        v1_batch(),
        batch_keys=[f"u{i // 4}_{i}_0" for i in range(8)],
        adv_estimator=algorithm.adv_estimator,
        norm_adv_by_std_in_grpo=scaled,
        config=algorithm,
    )
    mixed = grpo([ALPHA * p + (1 - ALPHA) * a for p, a, _, _ in ROLLOUTS], scaled)
    outcome = grpo([a for _, a, _, _ in ROLLOUTS], scaled)
    for i, (_, _, length, end) in enumerate(ROLLOUTS):
        expected = torch.zeros(8)
        expected[:length] = outcome[i]
        expected[: length if end == NO_SPAN else end + 1] = mixed[i]
        torch.testing.assert_close(data.batch["advantages"][i], expected, atol=1e-5, rtol=1e-5)


def test_with_alpha_zero_it_is_grpo():
    data = v1_batch()
    for i, (_, a, length, end) in enumerate(ROLLOUTS):
        data.batch["token_level_rewards"][i, :length] = write(length, a, a, end)
    ours = compute_advantage(data, "percbal_segment").batch["advantages"].clone()
    theirs = compute_advantage(data, core_algos.AdvantageEstimator.GRPO).batch["advantages"]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_estimator_refuses_rewards_that_the_agent_loop_did_not_write():
    data = v1_batch()
    data.batch["token_level_rewards"] = torch.zeros(8, 8)
    data.batch["token_level_rewards"][:, 3] = 0.5
    with pytest.raises(ValueError, match="response 0 were not written by percbal's agent loop"):
        compute_advantage(data, "percbal_segment")


# --- the agent loop's output -------------------------------------------------------------------


def output_of(cls: type, **more):
    output = cls(prompt_ids=[1, 2], response_ids=[3, 4, 5, 6], response_mask=[1] * 4, metrics={})
    for name, value in more.items():
        setattr(output, name, value)
    return output


def test_the_output_differs_from_verls_only_in_where_the_reward_is():
    parts = {"reward_extra_info": {"score": 0.5, "outcome": 1.0}}
    more = {"reward_score": 0.5, "extra_fields": parts}
    ours = output_of(SegmentOutput, perception_end=1, **more).as_dict()
    theirs = output_of(AgentLoopOutput, **more).as_dict()
    assert ours.keys() == theirs.keys()
    assert theirs["rm_scores"].tolist() == [0, 0, 0, 0.5]
    assert ours["rm_scores"].tolist() == [0, 1.5, 0, -1]
    assert ours["rm_scores"].sum() == theirs["rm_scores"].sum()


def test_another_reward_function_is_refused():
    output = output_of(SegmentOutput, reward_score=1.0)
    output.extra_fields = {"reward_extra_info": {"acc": 1.0}}
    with pytest.raises(ValueError, match=r"must return 'score' and 'outcome'.*\['acc'\]"):
        output.as_dict()


# --- the reward --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["verl_segment", "verl_gdpo"])
@pytest.mark.parametrize("by_file", [False, True])
def test_the_reward_manager_loads_our_reward(name, by_file):
    options = []
    if by_file:
        import percbal.adapters.verl.reward as module

        options = [f"reward.custom_reward_function.path={module.__file__}"]
    manager = load_reward_manager(config(name, *options), tokenizer())
    text = response(PERCEPTION, WRONG)
    ids = torch.tensor(tokenizer()(text)["input_ids"])
    data = DataProto.from_dict(
        {
            "responses": ids[None],
            "attention_mask": torch.ones(1, 3 + len(ids), dtype=torch.long),
            "prompts": torch.zeros(1, 3, dtype=torch.long),
        },
        non_tensors={
            "data_source": np.array(["grids"], dtype=object),
            "reward_model": np.array([{"ground_truth": TRUTH}], dtype=object),
            "extra_info": np.array([{}], dtype=object),
        },
    )
    result = manager.loop.run_until_complete(manager.run_single(data))
    assert result["reward_score"] == 0.5
    assert result["reward_extra_info"]["perception"] == 1
    assert result["reward_extra_info"]["outcome"] == 0


# --- GDPO --------------------------------------------------------------------------------------


def whiten(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    kept = values[mask.bool()]
    return (values - kept.mean()) / (kept.var() + 1e-8).sqrt() * mask


def test_gdpo_mixes_the_group_scores_of_our_keys():
    algorithm = config("verl_gdpo").algorithm
    data = v1_batch()
    mask = data.batch["response_mask"]
    data.batch["prompts"] = torch.zeros(8, 3, dtype=torch.long)
    data.batch["attention_mask"] = torch.cat((torch.ones(8, 3, dtype=torch.long), mask), 1)
    data.non_tensor_batch["perception"] = np.array([p for p, *_ in ROLLOUTS])
    data.non_tensor_batch["outcome"] = np.array([a for _, a, *_ in ROLLOUTS])
    found = compute_advantage(data, algorithm.adv_estimator, config=algorithm).batch["advantages"]
    scores = 0.5 * grpo([p for p, *_ in ROLLOUTS]) + 0.5 * grpo([a for _, a, *_ in ROLLOUTS])
    expected = whiten(scores[:, None] * mask, mask)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_gdpo_does_not_work_in_verls_default_trainer():
    """Why docs/examples/verl_gdpo.yaml asks for the older one; when this fails, drop that line."""
    algorithm = config("verl_gdpo").algorithm
    with pytest.raises((KeyError, AssertionError)):
        compute_advantage_for_multi_trajectories(
            v1_batch(),
            batch_keys=[f"u{i // 4}_{i}_0" for i in range(8)],
            adv_estimator=algorithm.adv_estimator,
            config=algorithm,
        )


# --- the configurations ------------------------------------------------------------------------


ALL = ["verl_segment", "verl_gdpo", "verl_qwen3_vl"]


@pytest.mark.filterwarnings("ignore:Disabled critic")
@pytest.mark.parametrize("name", ALL)
def test_verl_accepts_the_configurations(name):
    whole = config(name)
    assert not need_critic(whole) and not need_reference_policy(whole)
    validate_config(whole, use_reference_policy=False, use_critic=False)
    algorithm = omega_conf_to_dataclass(whole.algorithm)
    assert core_algos.get_adv_estimator_fn(algorithm.adv_estimator)
    assert whole.reward.custom_reward_function.reward_kwargs.alpha == 0.5


# Not in verl's defaults: what the reward is called with, and GDPO's options.
OUR_OWN = {"reward.custom_reward_function.reward_kwargs", "algorithm.gdpo_reward_keys"}
OUR_OWN |= {"algorithm.gdpo_reward_weights"}


@pytest.mark.parametrize("name", ALL)
def test_every_key_is_one_of_verls(name):
    """A misspelt one would be kept without a word, and do nothing."""
    given = OmegaConf.load(EXAMPLES / f"{name}.yaml")
    with initialize_config_module("verl.trainer.config", version_base=None):
        defaults = compose("ppo_trainer")

    def unknown(node, known, path):
        for key, value in node.items():
            here = f"{path}.{key}".lstrip(".")
            if here in OUR_OWN or here == "defaults":
                continue
            if key not in known.keys():  # noqa: SIM118  `in` says no to those still to be given
                yield here
            elif OmegaConf.is_dict(value):
                yield from unknown(value, known[key], here)

    assert list(unknown(given, defaults, "")) == []


@pytest.mark.parametrize(
    ("kind", "collapsed"), [("Qwen2VLImageProcessorFast", True), ("GotOcr2ImageProcessor", False)]
)
def test_verl_gives_vllm_one_placeholder_per_image_for_qwen_alone(kind, collapsed):
    """Why there is no configuration for InternVL; when this fails, write one (docs/scale.md)."""
    processor = SimpleNamespace(
        image_processor=type(kind, (), {})(), image_token_id=9, video_token_id=8
    )
    ids = qwen2_5_vl_dedup_image_tokens([1, 9, 9, 9, 2], processor)
    assert ids == ([1, 9, 2] if collapsed else [1, 9, 9, 9, 2])


def test_the_documented_command_line_is_accepted(tmp_path):
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "--config-dir", EXAMPLES]
    command += ["--config-name", "verl_segment", "--cfg", "job", "trainer.nnodes=4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "adv_estimator: percbal_segment" in done.stdout and "nnodes: 4" in done.stdout
