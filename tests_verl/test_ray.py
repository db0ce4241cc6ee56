"""A rollout through verl's own actors in a local Ray, all but the engine that generates.

Agent loop worker, reward worker, TransferQueue and the V1 trainer's advantage are verl's; the
responses are written down here.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import torch
import transfer_queue as tq
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta
from transformers import Qwen2Config
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.trainer.ppo.v1 import AgentLoopWorkerTQ, PPOTrainer
from verl_fixtures import RESPONSES, TRUTH, WrittenDown, config, tokenizer

CLOSING = "</perception>"


@pytest.fixture(scope="module")
def local_ray():
    here = {"PYTHONPATH": str(Path(__file__).parent)}  # the actors unpickle our fixtures
    options = {"include_dashboard": False, "log_to_driver": False}
    ray.init(num_cpus=4, runtime_env={"env_vars": here}, **options)
    tq.init()
    yield
    tq.close()
    ray.shutdown()


@pytest.fixture(scope="module")
def whole_config(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    tokenizer().save_pretrained(directory)
    Qwen2Config(vocab_size=300, hidden_size=8, architectures=["Qwen2ForCausalLM"]).save_pretrained(
        directory
    )
    return config(
        "verl_segment",
        f"actor_rollout_ref.model.path={directory}",
        "+actor_rollout_ref.model.override_config.attn_implementation=eager",
        "actor_rollout_ref.rollout.n=4",
        "transfer_queue.enable=true",
    )


def rolled_out(whole_config) -> KVBatchMeta:
    """Roll out one prompt into TransferQueue; what the trainer is told of its responses."""
    rewards = ray.remote(RewardLoopWorker).remote(whole_config)
    worker = AgentLoopWorkerTQ.remote(whole_config, WrittenDown(), None, [rewards])
    prompt = TensorDict(
        {
            "uid": NonTensorStack("u"),
            "raw_prompt": NonTensorStack([{"role": "user", "content": "look"}]),
            "data_source": NonTensorStack("grids"),
            "reward_model": NonTensorStack({"ground_truth": TRUTH}),
            "extra_info": NonTensorStack({}),
            "index": torch.tensor([0]),
            "global_steps": torch.tensor([0]),
        },
        batch_size=1,
    )
    ray.get(worker.generate_sequences.remote(prompt), timeout=120)
    for _ in range(600):
        stored = tq.kv_list(partition_id="train").get("train", {})
        if stored.get("u", {}).get("status") in ("finished", "failure"):
            break
        time.sleep(0.1)
    assert stored["u"]["status"] == "finished", stored
    keys = sorted(key for key in stored if key != "u")
    return KVBatchMeta(keys=keys, tags=[stored[key] for key in keys], partition_id="train")


def test_a_rollout_through_verls_actors(local_ray, whole_config):
    batch = rolled_out(whole_config)
    PPOTrainer._compute_advantage(SimpleNamespace(config=whole_config), batch, {})
    data = tq.kv_batch_get(keys=batch.keys, partition_id="train")
    decoder = tokenizer()
    parts = {text: (p, a) for text, p, a in RESPONSES}
    mixed = torch.tensor([0.5 * p + 0.5 * a for _, p, a in RESPONSES])
    outcome = torch.tensor([a for _, _, a in RESPONSES])
    seen = []
    for i in range(len(batch.keys)):
        text = decoder.decode(data["responses"][i])
        p, a = parts[text]
        seen.append(text)
        assert float(data["rm_scores"][i].sum()) == 0.5 * p + 0.5 * a
        whole, reasoning = (
            (value - group.mean()) / (group.std() + 1e-6)
            for value, group in ((0.5 * p + 0.5 * a, mixed), (a, outcome))
        )
        # one token per byte; without the span everything is judged by the mix
        border = text.index(CLOSING) + len(CLOSING) if CLOSING in text else len(text)
        expected = [float(whole)] * border + [float(reasoning)] * (len(text) - border)
        assert data["advantages"][i].tolist() == pytest.approx(expected, abs=1e-5)
    assert sorted(seen) == sorted(parts)
    assert whole_config.trainer.use_v1, "the trainer whose advantage was called"
