"""vLLM's interface without vLLM, which needs a GPU: TRL's requests, checked as vLLM checks them.

An engine wants one placeholder per image in a prompt's ids and replaces it by what the family's own
processor of transformers makes of the image. A server takes the expanded ids and says of each image
where it found it in a conversation of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import trl.generation.vllm_generation as generation
from zoo import QUERY

from percbal.models.loading import load_processor
from percbal.responses.prompt import prompt_ids

ANSWER = "<perception> red </perception> <reasoning> so </reasoning> <answer> 1 </answer>"


class Engine:
    """What it was asked, expanded (``told``), and as it was given (``given``)."""

    def __init__(self, processor):
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.given, self.told, self.sampling = [], [], []
        self.synced = 0

    def placeholder(self) -> str:
        """What the chat template writes for an image."""
        if "Gemma3" in type(self.processor).__name__:
            return self.processor.boi_token
        return self.processor.image_token

    def expand(self, ids, images):
        token = self.tokenizer.convert_tokens_to_ids(self.placeholder())
        assert ids.count(token) == len(images), "one placeholder per image"
        expanded, left = [], list(images)
        for number in ids:
            if number != token:
                expanded.append(number)
                continue
            shown = {"text": [self.placeholder()], "images": [[left.pop(0)]]}
            expanded += self.processor(**shown, add_special_tokens=False)["input_ids"][0]
        if "Gemma3" in type(self.processor).__name__:  # line breaks merge, as vLLM has them do
            text = self.tokenizer.decode(expanded, clean_up_tokenization_spaces=False)
            expanded = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return expanded

    def ask(self, given, told, sampling):
        self.given.append(given)
        self.told.append(told)
        self.sampling.append(sampling)
        ids = self.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]


class LLM:
    """In the trainer's process."""

    def __init__(self, model, **_):
        assert (Path(model) / "config.json").is_file(), f"{model} is no model"
        self.engine = Engine(load_processor(model))
        self.engine.started_from = model
        loaded = SimpleNamespace(load_weights=self._load)
        driver = SimpleNamespace(model_runner=SimpleNamespace(model=loaded))
        executor = SimpleNamespace(driver_worker=driver)
        self.llm_engine = SimpleNamespace(model_executor=executor)

    def _load(self, weights):
        self.engine.synced += len(weights)

    def reset_prefix_cache(self):
        pass

    def generate(self, prompts, sampling_params, use_tqdm):
        outputs = []
        for prompt in prompts:
            shown = prompt.get("multi_modal_data", {}).get("image", [])
            shown = shown if isinstance(shown, list) else [shown]
            told = self.engine.expand(prompt["prompt_token_ids"], shown)
            ids = self.engine.ask(prompt["prompt_token_ids"], told, sampling_params)
            logprobs = [{i: SimpleNamespace(rank=1, logprob=-1.0)} for i in ids]
            answer = SimpleNamespace(token_ids=ids, logprobs=logprobs)
            outputs.append(SimpleNamespace(prompt_token_ids=told, outputs=[answer]))
        return outputs


class Client:
    """Of a server, whose requests travel as JSON."""

    def __init__(self, processor, more_tokens=0):
        self.engine, self.more_tokens = Engine(processor), more_tokens

    def init_communicator(self, device):
        pass

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def update_named_params(self, metadata, weights):
        self.engine.synced += len(list(weights))

    def reset_prefix_cache(self):
        pass

    def image_features(self, images):
        return [self._features(shown) if shown else None for shown in images]

    def _features(self, images):
        parts = [{"type": "image", "image": image} for image in images]
        parts.append({"type": "text", "text": QUERY})
        ids = prompt_ids(self.engine.processor, [[{"role": "user", "content": parts}]]).ids[0]
        token = self.engine.processor.image_token_id
        starts = [i for i, n in enumerate(ids) if n == token and ids[i - 1] != token]
        ends = [i + 1 for i, n in enumerate(ids) if n == token and ids[i + 1] != token]
        places = [
            {"offset": first, "length": end - first + self.more_tokens}
            for first, end in zip(starts, ends, strict=True)
        ]
        return {"mm_placeholders": {"image": places}, "mm_hashes": {"image": ["x"] * len(images)}}

    def generate(self, prompts, features=None, n=1, logprobs=0, **sampling):
        json.dumps([prompts, features, sampling])
        completions = []
        for i, prompt in enumerate(prompts):
            if features is not None and features[i] is not None:
                for place in features[i]["mm_placeholders"]["image"]:
                    inside = prompt[place["offset"] : place["offset"] + place["length"]]
                    assert set(inside) == {self.engine.processor.image_token_id}
            answer = self.engine.ask(prompt, prompt, sampling["generation_kwargs"])
            completions += [answer] * n
        return {
            "prompt_ids": [list(prompt) for prompt in prompts],
            "completion_ids": completions,
            "logprobs": [[[-1.0] for _ in ids] for ids in completions],
            "logprob_token_ids": [[[i] for i in ids] for ids in completions],
        }


def install(monkeypatch, processor=None, **client):
    """For TRL, vLLM is there, in this process, and at the other end of every address."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # TRL sets them; so they are put back as they were
        monkeypatch.delenv(name)
    parts = {
        "is_vllm_available": lambda *_, **__: True,
        "LLM": LLM,
        "SamplingParams": lambda **options: options,
        "VLLMClient": lambda **_: Client(processor, **client),
    }
    for name, part in parts.items():
        monkeypatch.setattr(generation, name, part, raising=False)


def engine_of(trainer) -> Engine:
    made = trainer.vllm_generation
    return made.llm.engine if made.mode == "colocate" else made.vllm_client.engine
