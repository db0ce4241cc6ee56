"""What a model is asked, and where its response begins: nothing else here applies a chat template.

As text for fine-tuning and diagnosis, as ids for rollouts and for what the policy is asked without
the image. Tests hold all of them to the same ids, and those of rollouts to TRL's; TRL's own
collator, which renders the examples of fine-tuning, is checked against `response_text` row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os.path import commonprefix
from typing import Any, NamedTuple

Messages = Sequence[Mapping[str, Any]]


def render(processor: Any, messages: Messages, *, finished: bool = False) -> str:
    """The text of a conversation by the chat template of a processor or a tokenizer.

    messages: as the template wants them, images as parts ``{"type": "image"}``.
    finished: nothing more is to be said. Otherwise the text ends where the model goes on: in a new
        turn of the assistant, or in its last one.
    Raises ValueError where no assistant can go on, as after a system message.
    """
    if finished:
        return processor.apply_chat_template(messages, tokenize=False)
    role = messages[-1]["role"]
    if role not in ("user", "tool", "assistant"):
        raise ValueError(
            "a prompt must end with a message of the user, a tool or the assistant, got one of "
            f"role {role!r}"
        )
    own = role == "assistant"
    return processor.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=not own, continue_final_message=own
    )


def response_text(processor: Any, prompt: Messages, completion: Messages) -> str:
    """What follows the prompt in the whole conversation, the end of the turn included.

    The prompt counts as far as the conversation begins with it: some templates open a turn with
    more, such as a tag for thinking, than a finished turn has. Equal to ``completion`` of
    `trl.data_utils.apply_chat_template`.
    """
    whole = render(processor, [*prompt, *completion], finished=True)
    return whole[len(commonprefix([render(processor, prompt), whole])) :]


class PromptIds(NamedTuple):
    """A batch of prompts, encoded."""

    ids: list[list[int]]  # of each prompt, images expanded, no padding
    images: list[list[Any] | None] | None  # of each prompt; None where there is none at all
    fields: dict[str, Any]  # what else the processor made, such as pixel_values


def prompt_ids(processor: Any, prompts: Sequence[Messages], **options: Any) -> PromptIds:
    """The ids of prompts that the assistant is to answer in a new turn.

    prompts: as the template wants them, images as parts ``{"type": "image", "image": ..}``.
    options: of the chat template. Equal to `trl.GRPOTrainer._tokenize_prompts` without tools.
    """
    images = [[*_images_in(prompt)] or None for prompt in prompts]
    encoded = dict(
        processor.apply_chat_template(
            list(prompts), add_generation_prompt=True, tokenize=True, return_dict=True, **options
        )
    )
    ids, _ = encoded.pop("input_ids"), encoded.pop("attention_mask", None)
    return PromptIds(ids, images if any(images) else None, encoded)


def _images_in(prompt: Messages) -> Iterator[Any]:
    for message in prompt:
        if isinstance(message["content"], list):
            yield from (part["image"] for part in message["content"] if part["type"] == "image")
