"""How a GRPO trainer asks its policy, and what rewards read of the answers.

A part of `BalancedGRPOTrainer`: prompts rendered as fine-tuning renders them, the response's
format stated where that is wanted, completions rewritten in the default tags.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.data_utils import is_conversational, prepare_multimodal_messages

from percbal.data.rows import images_of
from percbal.grpo.position_guard import difference_alone, differs
from percbal.models.modes import evaluating
from percbal.responses.asking import Asking
from percbal.responses.prompt import OPTIONS, PromptIds, prompt_ids
from percbal.responses.thoughts import opens_thoughts
from percbal.segments.sampled import GeneratedSegments


class Prompting:
    """For a GRPO trainer of TRL, listed before it."""

    model: Any
    accelerator: Any
    processing_class: Any
    chat_template: str | None
    chat_template_kwargs: Any
    use_vllm: bool
    vllm_generation: Any
    _is_vlm: bool
    _texts: list[str]  # of the prompts that were encoded last, as rendered
    _segmented: GeneratedSegments | None  # the last rollouts of this rank

    def _set_up_prompts(self, asking: Asking) -> None:
        self.asking = asking  # TRL has the options of the chat template
        self._prompts: list[Any] = []  # of the last rollouts, with their images
        self._thinking: list[bool] = []  # whether each of them opens a block of thoughts
        self._positions_checked = False

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        """Of rollouts, and of what the policy is asked to judge them."""
        if not is_conversational({"prompt": prompts[0]}):  # plain text, which has no template
            self._texts = prompts
            return super()._tokenize_prompts(prompts)  # type: ignore[misc]
        if self._is_vlm:
            prompts = [prepare_multimodal_messages(prompt) for prompt in prompts]
        encoded = self._encoded(prompts)
        self._texts = encoded.texts
        if self.use_vllm:
            self.vllm_generation.encoded = encoded
        return encoded[:3]

    def _generate(self, prompts: list[Any]) -> Any:
        made = super()._generate(prompts)  # type: ignore[misc]
        self._prompts = prompts
        self._thinking = [opens_thoughts(text) for text in self._texts]
        return made

    def _encoded(self, prompts: list[Any]) -> PromptIds:
        return prompt_ids(self.processing_class, prompts, **self._template_options())

    def _template_options(self) -> dict[str, Any]:
        own = {} if self.chat_template is None else {"chat_template": self.chat_template}
        return {**self.chat_template_kwargs, **own}

    def _as_rewards_read(self, completions: Any) -> Any:
        """Completions in the default tags; the very same where they are."""
        if self.asking.plain and not any(self._thinking):
            return completions
        assert self._segmented is not None
        texts = [
            self.asking.read(text, thinking=thinking)
            for text, thinking in zip(self._segmented.text, self._thinking, strict=True)
        ]
        if isinstance(completions[0], str):
            return texts
        return [[{"role": "assistant", "content": text}] for text in texts]

    def _asked_rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with the prompts that are rendered, all in one form.

        In parts, so that images stay where they are (TRL fills them in), with the format stated if
        it is to be, and with the row's own options of the template.
        """
        shows = any(row.get(name) is not None for row in rows for name in ("image", "images"))
        parts = self.asking.adds or (self._is_vlm and shows)
        return [self._asked(row, parts) for row in rows]

    def _asked(self, row: dict[str, Any], parts: bool) -> dict[str, Any]:
        images = [image for image in images_of(row) if image is not None]
        if parts or (not images and ("image" in row or "images" in row)):
            row = {**row, "images": images}  # TRL takes an empty list for none, and no None
        prompt, options = row["prompt"], row.get(OPTIONS)
        if not is_conversational({"prompt": prompt}):
            if self.asking.adds or options:
                raise ValueError(
                    "state_format, format_examples and chat_template_kwargs need prompts that are "
                    f"messages, got {str(prompt):.40}"
                )
            return row
        if parts:
            prompt = _with_empty_parts(prompt, images)
        return {**row, "prompt": self.asking.prompt(prompt, options)}

    def _check_positions(self, batch: dict[str, Any]) -> None:
        """Once a run, of the rollout with the shortest prompt, which has the most padding.

        Every rank makes the same passes, as they can be collective, and raises if one must.
        """
        if self._positions_checked or not self.model.training:
            return
        self._positions_checked = True
        written = batch["completion_mask"].bool()  # (B, C); none of a masked rollout
        lengths = batch["prompt_mask"].sum(1).masked_fill(~written.any(1), 2**31)
        row = int(lengths.argmin())
        completion = batch["completion_ids"][row][written[row]].tolist()
        checked = bool(completion)  # else only for the other ranks' sake
        prompt = self._prompts[row]
        if isinstance(prompt, str):
            ids = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()].tolist()
            alone = PromptIds([ids], None, {}, [prompt])
        else:
            alone = self._encoded([prompt])
        some = completion or batch["completion_ids"][row][:1].tolist()
        with evaluating(self.model):  # dropout would differ by itself
            found, rounding = difference_alone(self, batch, row, alone, some)
        bad = checked and differs(self, found, rounding)
        own = torch.tensor([float(bad), found, rounding], device=self.accelerator.device)
        for failed, found, rounding in self.accelerator.gather(own).view(-1, 3).tolist():
            if not failed:
                continue
            raise RuntimeError(
                f"the log-probabilities of a rollout differ by {found:.2g} per token between a "
                f"batch and the rollout alone (rounding makes {rounding:.2g}): this version of TRL "
                "or transformers puts padding or images of this model beside the wrong tokens; "
                "train on prompts of one length, or with another version"
            )


def _with_empty_parts(prompt: Any, images: Any) -> list[dict[str, Any]]:
    """Messages in parts, whose images are yet to be filled in from the row's columns."""
    filled = prepare_multimodal_messages(prompt, images=[None] * len(images))
    return [
        {
            **message,
            "content": [
                {k: v for k, v in part.items() if k != "image" or v is not None}
                for part in message["content"]
            ],
        }
        for message in filled
    ]


def without_parts(prompts: Any) -> None:
    """Give each message of some prompts a text for its content, in place: W&B's tables want that.

    TRL 1.16 hands them messages in parts, which ends the run.
    """
    for i, messages in enumerate(prompts):
        if not isinstance(messages, str):
            prompts[i] = [{**m, "content": _one_text(m["content"])} for m in messages]


def _one_text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or _mark(part) for part in content)


def _mark(part: dict[str, Any]) -> str:
    return "" if part["type"] == "text" else f"<{part['type']}>"
