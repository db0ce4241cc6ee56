"""vLLM puts the tokens of images into a prompt by itself: it is given what the template wrote.

TRL up to 1.16 hands it prompts whose images are expanded already (huggingface/trl#6294). An engine
in the trainer's process (``vllm_mode: colocate``) takes a prompt's ids and its images, and expands
the first token of each image once more; so it is given the ids with one placeholder per image. A
server is given the expanded ids and where each image is in them, as one run of image tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any

from percbal.models.together import refused_together
from percbal.responses.prompt import PromptIds

Ids = list[int]
AROUND = 4  # most tokens that a family puts around an image's own: two marks, two line breaks


class VLLMPrompts:
    """TRL's ``VLLMGeneration``, asked what training sees, and held to it.

    encoded: the prompts that are to be sampled next, set by whoever encodes them.
    Raises ValueError for an image that a server cannot place, RuntimeError where vLLM was asked
    another prompt than training sees.
    """

    def __init__(self, generation: Any, processor: Any) -> None:
        self._generation, self._processor = generation, processor
        self.encoded: PromptIds | None = None
        if generation.mode == "server":
            generation._place_features = _sizes_checked(generation._place_features)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)

    def generate(
        self,
        prompts: list[Ids],
        images: list[list[Any] | None] | None,
        num_generations: int,
        profiler: Any = None,
    ) -> tuple[Any, ...]:
        """prompts: ids with expanded images, maybe with more ids behind."""
        given = prompts
        with refused_together(self._generation.accelerator):
            if images is not None and self._generation.mode == "server":
                self._refuse_broken_runs(prompts, images)
            elif images is not None:
                given = self._as_written(prompts, images)
        told, *rest = self._generation.generate(
            prompts=given, images=images, num_generations=num_generations, profiler=profiler
        )
        with refused_together(self._generation.accelerator):
            self._refuse_other_prompts(prompts, given, told)
        return told, *rest

    def _as_written(self, prompts: list[Ids], images: list[list[Any] | None]) -> list[Ids]:
        """The same prompts with one placeholder per image: the template's text, tokenised alone."""
        assert self.encoded is not None
        tokenizer = self._processor.tokenizer
        written = tokenizer(self.encoded.texts, add_special_tokens=False)["input_ids"]
        rows: list[Ids] = []
        for prompt, shown, expanded, short in zip(
            prompts, images, self.encoded.ids, written, strict=True
        ):
            if prompt[: len(expanded)] != expanded:
                raise RuntimeError("the prompts to sample are not those that were encoded last")
            rows.append([*short, *prompt[len(expanded) :]] if shown else prompt)
        return rows

    def _refuse_broken_runs(self, prompts: list[Ids], images: list[list[Any] | None]) -> None:
        """Tiles and rows part an image's tokens, and a server is told no more than one run."""
        token = getattr(self._processor, "image_token_id", None)
        for prompt, shown in zip(prompts, images, strict=True):
            runs = sum(is_image for is_image, _ in groupby(i == token for i in prompt))
            if runs != len(shown or []):
                raise ValueError(
                    f"vllm_mode=server needs one run of image tokens per image, a "
                    f"{type(self._processor).__name__} makes {runs} of {len(shown or [])} image(s):"
                    " use vllm_mode=colocate"
                )

    def _refuse_other_prompts(
        self, prompts: list[Ids], given: list[Ids], told: Sequence[Sequence[int]]
    ) -> None:
        """told: what vLLM says it was asked, expanded by itself, or as it was given."""
        for row, (prompt, sent, asked) in enumerate(zip(prompts, given, told, strict=True)):
            if list(asked) in (prompt, sent):
                continue
            pairs = enumerate(zip_longest(prompt, asked))
            at, (ours, its) = next((at, pair) for at, pair in pairs if pair[0] != pair[1])
            raise RuntimeError(
                f"vLLM expands images unlike {type(self._processor).__name__}: prompt {row} of the "
                f"batch has {len(asked)} tokens there and {len(prompt)} in training, the first "
                f"that differs is number {at}, {self._token(its)} and {self._token(ours)}; "
                "generate with transformers (use_vllm: false)"
            )

    def _token(self, number: int | None) -> str:
        return "none" if number is None else repr(self._processor.tokenizer.decode([number]))


def _sizes_checked(place: Callable[..., Any]) -> Callable[..., Any]:
    """TRL's ``_place_features``, which believes that an image is as long for the server as here."""

    def placed(features: Mapping[str, Any] | None, prompt_ids: Ids) -> Any:
        found = place(features, prompt_ids)
        if features is None:
            return found
        kinds = [made["mm_placeholders"]["image"] for made in (features, found)]
        for number, (there, here) in enumerate(zip(*kinds, strict=True)):
            if there.get("is_embed"):
                fits = sum(there["is_embed"]) == here["length"]
            else:  # the server counts what its processor puts around the image, too
                fits = 0 <= there["length"] - here["length"] <= AROUND
            if not fits:
                raise RuntimeError(
                    f"image {number} of a prompt has {here['length']} tokens in training and "
                    f"{there['length']} on vLLM's server: does it serve the same processor?"
                )
        return found

    return placed
