"""What a model is asked, as text, and where its response begins.

Fine-tuning and diagnosis render prompts here. Rollouts, and what the policy is asked without the
image, are rendered by TRL's trainer, which must see one prompt in sampling and in training; tests
hold all of them to the same ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import commonprefix
from typing import Any

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
