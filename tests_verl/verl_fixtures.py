"""Texts, a tokenizer and verl's composed configurations."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl.workers.rollout.replica import TokenOutput

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
PERCEPTION = "r1c1=1 r1c2=_ r2c1=_ r2c2=2"
ANSWER = "r1c1=1 r1c2=2 r2c1=2 r2c2=2"
WRONG = "r1c1=2 r1c2=2 r2c1=2 r2c2=2"
TRUTH = {"perception": PERCEPTION, "answer": ANSWER}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def response(perception: str, answer: str) -> str:
    return (
        f"<perception> {perception} </perception> <reasoning> so </reasoning> "
        f"<answer> {answer} </answer>"
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate([*alphabet, "<eos>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>")
    made.chat_template = TEMPLATE
    return made


def config(name: str, *overrides: str) -> DictConfig:
    """One of docs/examples, on top of verl's own defaults."""
    with initialize_config_dir(str(EXAMPLES), version_base=None):
        return compose(name, ["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])


# of one prompt: text, perception, outcome
RESPONSES = [
    (response(PERCEPTION, ANSWER), 1.0, 1.0),
    (response(PERCEPTION, WRONG), 1.0, 0.0),
    (response(WRONG, ANSWER), 0.0, 1.0),
    (f"<answer> {ANSWER} </answer>", 0.0, 1.0),
]


class WrittenDown:
    """Stands for the engine: the next response at each call."""

    def __init__(self) -> None:
        self.tokenizer = tokenizer()
        self.left = [text for text, _, _ in RESPONSES]

    async def generate(self, **_) -> TokenOutput:
        return TokenOutput(token_ids=self.tokenizer(self.left.pop(0))["input_ids"])
