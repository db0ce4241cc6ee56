"""What a model is asked, and where its response begins: nothing else here applies a chat template.

The rule (docs/prompts.md): a model is asked by its chat template with ``add_generation_prompt``,
as serving engines do, and is trained to continue exactly that. Fine-tuning, diagnosis, rollouts
and questions without the image all render by this file; tests hold all of them to the same ids.

A conversation's own options of the template travel with its first message, as the key
``chat_template_kwargs``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os.path import commonprefix
from typing import Any, Literal, NamedTuple

from percbal.responses.thoughts import CLOSING, OPENING, opens_thoughts

Messages = Sequence[Mapping[str, Any]]
Begin = Literal["generation", "conversation"]
OPTIONS = "chat_template_kwargs"
END_OF_THOUGHTS = f"\n{CLOSING}\n\n"  # as the templates of Qwen write it
UNSAID = "\ue000\ue001"  # characters for private use, which no template and no response has


class Turn(NamedTuple):
    """One turn of the assistant as text: what it is asked, and what it is trained to continue."""

    prompt: str
    completion: str  # what the template puts before the response, the response, the turn's end


def with_options(messages: Messages, options: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The messages, the first of which carries options of the chat template, if there are any.

    An option that is None is none: tables fill what a row does not have.
    """
    copies = [dict(message) for message in messages]
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if given and copies:
        copies[0][OPTIONS] = {**(copies[0].get(OPTIONS) or {}), **given}
    return copies


def without_options(messages: Messages) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages alone, and the options that they carry."""
    plain = [{k: v for k, v in message.items() if k != OPTIONS} for message in messages]
    return plain, dict(messages[0].get(OPTIONS) or {})


def render(processor: Any, messages: Messages, *, finished: bool = False, **options: Any) -> str:
    """The text of a conversation by the chat template of a processor or a tokenizer.

    messages: as the template wants them, images as parts ``{"type": "image"}``.
    finished: nothing more is to be said. Otherwise the text ends where the model goes on: in a new
        turn of the assistant, or in its last one.
    options: of the chat template; those that the conversation carries come first.
    Raises ValueError where no assistant can go on, as after a system message, and without a
    template.
    """
    if getattr(processor, "chat_template", "") is None and "chat_template" not in options:
        raise ValueError(
            f"{type(processor).__name__} has no chat template: a model that was not trained on "
            "conversations must be given one (chat_template.jinja beside its processor)"
        )
    messages, own = without_options(messages)
    options |= own
    if finished:
        return processor.apply_chat_template(messages, tokenize=False, **options)
    role = messages[-1]["role"]
    if role not in ("user", "tool", "assistant"):
        raise ValueError(
            "a prompt must end with a message of the user, a tool or the assistant, got one of "
            f"role {role!r}"
        )
    own = role == "assistant"
    return processor.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=not own,
        continue_final_message=own,
        **options,
    )


def trained_turn(
    processor: Any,
    prompt: Messages,
    completion: Messages,
    *,
    begin: Begin = "generation",
    **options: Any,
) -> Turn:
    """The turn that fine-tuning trains on, the end of the turn included.

    begin: "generation": the prompt is what the model is asked in use. Where the template renders a
        finished turn otherwise, the response and what follows it are put behind that prompt; a
        block of thoughts that the prompt opens and the response does not close is closed; where
        the template puts nothing behind a response, the tokenizer's end of a sequence does.
        "conversation": the prompt counts as far as the whole conversation begins with it, equal
        to `trl.data_utils.apply_chat_template`.
    Raises ValueError for a template that changes the response, so that it cannot be found.
    """
    asked = render(processor, prompt, **options)
    conversation = [*with_options(prompt, None), *completion]
    if begin == "generation":
        conversation = _one_turn(conversation, len(prompt))
    whole = render(processor, conversation, finished=True, **options)
    if begin == "conversation":
        start = len(commonprefix([asked, whole]))
        return Turn(whole[:start], whole[start:])
    if whole.startswith(asked):
        return Turn(asked, _ended(processor, whole[len(asked) :], completion))
    response, end = _split(whole, completion, len(commonprefix([asked, whole])))
    if opens_thoughts(asked):
        if CLOSING not in response:
            response = END_OF_THOUGHTS + response
        elif response.lstrip().startswith(OPENING):  # the prompt has it already
            response = response.lstrip()[len(OPENING) :]
    return Turn(asked, _ended(processor, response + end, completion))


def response_end(
    processor: Any,
    prompt: Messages,
    completion: Messages,
    turn: Turn,
    *,
    begin: Begin = "generation",
    **options: Any,
) -> int | None:
    """The character of ``turn.completion`` at which the text of the last message ends.

    turn: of `trained_turn` with the same arguments. The response may say what stands elsewhere in
        the turn, so it is not searched for: the template renders another one in its place.
    Returns None for a template that says nothing of it.
    """
    last = completion[-1]
    content = UNSAID if isinstance(last.get("content"), str) else [{"type": "text", "text": UNSAID}]
    messages = [*with_options(prompt, None), *completion[:-1], {**last, "content": content}]
    if begin == "generation":
        messages = _one_turn(messages, len(prompt))
    _, found, behind = render(processor, messages, finished=True, **options).rpartition(UNSAID)
    text = turn.completion
    if begin == "generation" and not behind.strip() and content_text(last.get("content")).strip():
        text = text.removesuffix(_end_of_sequence(processor))  # see _ended
    return len(text) - len(behind) if found and text.endswith(behind) else None


def _end_of_sequence(processor: Any) -> str:
    return getattr(getattr(processor, "tokenizer", processor), "eos_token", None) or ""


def _ended(processor: Any, text: str, completion: Messages) -> str:
    """With the tokenizer's end of a sequence where the template puts nothing behind a response.

    A model that is trained on the template of LLaVA-1.5 would else never learn to stop.
    """
    said = content_text(completion[-1].get("content")).rstrip()
    if not said or not text.rstrip().endswith(said):
        return text
    return text + _end_of_sequence(processor)


def _one_turn(messages: list[Any], at: int) -> list[Any]:
    """Where both sides of ``at`` are the assistant's, as one message: the prompt began its turn."""
    if not 0 < at < len(messages) or {m["role"] for m in messages[at - 1 : at + 1]} != {
        "assistant"
    }:
        return messages
    first, second = (message["content"] for message in messages[at - 1 : at + 1])
    text = content_text(first) + content_text(second)
    content = text if isinstance(first, str) else [{"type": "text", "text": text}]
    return [*messages[: at - 1], {**messages[at - 1], "content": content}, *messages[at + 1 :]]


def _split(whole: str, completion: Messages, shared: int) -> tuple[str, str]:
    """The one response of a finished conversation, and what the template puts behind it.

    shared: characters that it has in common with the prompt, the response's first perhaps among
        them.
    """
    if len(completion) != 1:
        raise ValueError(
            "this chat template renders a finished turn unlike one that is asked for, so the "
            f"completion must be one message, got {len(completion)}; or train with "
            "train_prompt=conversation"
        )
    text = content_text(completion[0].get("content"))
    for response in dict.fromkeys((text, text.strip())):
        at = whole.find(response, shared)
        if at < 0:
            at = whole.find(response, max(shared - len(response), 0))
        if at >= 0 and response:
            return response, whole[at + len(response) :]
    raise ValueError(f"the chat template changes the response, so it cannot be found: {text!r:.60}")


def content_text(content: Any) -> str:
    """The text of a message's content, a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def given_ids(tokenizer: Any, completion: str, beginning: str) -> list[int]:
    """The ids of a trained completion up to the end of ``beginning``, which it contains.

    They are those that the model was trained to write there: the completion is tokenised whole,
    and a token that begins inside ``beginning`` and ends behind it is kept.
    """
    at = completion.find(beginning)
    if at < 0:
        raise ValueError(f"the completion does not contain {beginning!r:.60}")
    end = at + len(beginning)
    if not tokenizer.is_fast:  # no offsets
        return tokenizer(completion[:end], add_special_tokens=False)["input_ids"]
    encoded = tokenizer(completion, add_special_tokens=False, return_offsets_mapping=True)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [i for i, (first, _) in pairs if first < end]


class PromptIds(NamedTuple):
    """A batch of prompts, encoded."""

    ids: list[list[int]]  # of each prompt, images expanded, no padding
    images: list[list[Any] | None] | None  # of each prompt; None where there is none at all
    fields: dict[str, Any]  # what else the processor made, such as pixel_values
    texts: list[str]  # as rendered


def prompt_ids(processor: Any, prompts: Sequence[Messages], **options: Any) -> PromptIds:
    """The ids of prompts that the assistant is to answer.

    prompts: as the template wants them, images as parts ``{"type": "image", "image": ..}``.
    options: of the chat template. The template alone puts special tokens, such as the first one:
    as in fine-tuning, and as serving engines do for conversations.
    """
    texts = [render(processor, prompt, **options) for prompt in prompts]
    images = [[*images_in(prompt)] or None for prompt in prompts]
    shown = {"images": [row or [] for row in images]} if any(images) else {}
    encoded = dict(processor(text=texts, **shown, add_special_tokens=False, return_tensors=None))
    ids = [[int(i) for i in row] for row in encoded.pop("input_ids")]
    encoded.pop("attention_mask", None)
    return PromptIds(ids, images if shown else None, encoded, texts)


def images_in(prompt: Messages) -> Iterator[Any]:
    """The images of a conversation, in order."""
    for message in prompt:
        if isinstance(message["content"], list):
            yield from (part["image"] for part in message["content"] if part["type"] == "image")
