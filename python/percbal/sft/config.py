"""The options of balanced fine-tuning, beside TRL's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from trl import SFTConfig

from percbal.models.checkpointing import CheckpointingNames
from percbal.models.finite import NonFiniteArguments
from percbal.objective.balance import Balance, Fixed, NGDiff, TokenMean
from percbal.responses.options import ResponseFormatArguments
from percbal.segments.names import TWO, Segments

if TYPE_CHECKING:
    from transformers import ProcessorMixin

    from percbal.sft.collate import SegmentCollator


@dataclass
class PromptArguments(ResponseFormatArguments):
    """How a response is written, and where it begins."""

    train_prompt: str = field(
        default="generation",
        metadata={
            "help": "Where a response begins. generation: behind the prompt that the model is "
            "asked in use; conversation: as stock TRL (docs/prompts.md)."
        },
    )
    chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": 'Options of the chat template, such as {"enable_thinking": false}.'},
    )


@dataclass
class BalancedSFTConfig(CheckpointingNames, NonFiniteArguments, PromptArguments, SFTConfig):
    """``trl.SFTConfig`` and how to weigh the segments."""

    HELP_GROUP: ClassVar[str] = "loss and balance"

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]

    balance: str = field(
        default="fixed",
        metadata={"help": "token_mean (plain fine-tuning), fixed (lam), or ngdiff (dynamic)."},
    )
    lam: float = field(
        default=0.5,
        metadata={"help": "Weight of perception's mean loss; ngdiff starts from it."},
    )
    segments: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Names of the segments, each with a fixed weight or a share of the balance: "
            '{"perception": "balance", "answer": 0.2, "reasoning": "balance"}, or '
            "perception,answer=0.2,reasoning. None: perception and reasoning, by lam."
        },
    )
    ngdiff_decay: float = field(
        default=0.0,
        metadata={"help": "Exponential mean of ngdiff's log-odds over steps; 0 is none."},
    )
    ngdiff_min: float = field(default=0.0, metadata={"help": "Least lambda of ngdiff."})
    ngdiff_max: float = field(default=1.0, metadata={"help": "Largest lambda of ngdiff."})
    tag_tokens: str = field(
        default="segment",
        metadata={"help": "segment: tags count with the part they enclose; other: not trained on."},
    )
    chunked_logits: bool = field(
        default=False,
        metadata={
            "help": "Compute the loss from hidden states, a chunk of logits at a time: memory for "
            "a large vocabulary. Token accuracies are then not logged."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={"help": "Cut sequences there. None, unlike TRL's 1024, never cuts an image."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_prompt not in ("generation", "conversation"):
            raise ValueError(
                f"train_prompt must be generation or conversation, got {self.train_prompt!r}"
            )
        self.make_segments()

    def make_segments(self) -> Segments:
        """The segments that the options name."""
        return Segments.parse(self.segments)

    def make_balance(self) -> Balance:
        """The controller that the options name."""
        segments = self.make_segments()
        if self.balance == "token_mean":
            segments.refuse_weights("balance token_mean weighs every token alike")
            return TokenMean()
        if self.balance == "fixed":
            return Fixed(self.lam if self.segments is None else segments.fixed_weights())
        if self.balance == "ngdiff":
            if segments != TWO:
                raise ValueError(f"ngdiff has two segments, got {', '.join(segments.names)}")
            return NGDiff(
                lam=self.lam,
                decay=self.ngdiff_decay,
                lam_min=self.ngdiff_min,
                lam_max=self.ngdiff_max,
            )
        raise ValueError(f"balance must be token_mean, fixed or ngdiff, got {self.balance!r}")

    def make_collator(self, processor: ProcessorMixin) -> SegmentCollator:
        """The collator for raw examples."""
        if self.tag_tokens not in ("segment", "other"):
            raise ValueError(f"tag_tokens must be segment or other, got {self.tag_tokens!r}")
        from percbal.sft.collate import SegmentCollator  # it loads TRL's trainer

        return SegmentCollator(
            processor,
            tag_tokens=self.tag_tokens,  # type: ignore[arg-type]
            max_length=self.max_length,
            begin=self.train_prompt,  # type: ignore[arg-type]
            asking=self.asking(self.chat_template_kwargs),
            segments=self.make_segments(),
        )
