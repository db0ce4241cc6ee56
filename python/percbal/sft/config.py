"""The options of balanced fine-tuning, beside TRL's own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from trl import SFTConfig

from percbal.models.checkpointing import CheckpointingNames
from percbal.models.finite import NonFiniteArguments
from percbal.objective.balance import Balance
from percbal.objective.controllers import make_controller
from percbal.responses.options import ResponseFormatArguments
from percbal.segments.names import Segments

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
        metadata={
            "help": "token_mean (plain fine-tuning), fixed (lam), ngdiff (dynamic: equal gradient "
            "norms), ngdiff_unbiased (without the norms' noise), calibrated or head (estimates of "
            "ngdiff; docs/balance.md), or module:Class."
        },
    )
    lam: float = field(
        default=0.5,
        metadata={
            "help": "Weight of perception's mean loss; a dynamic balance of two segments starts "
            "from it."
        },
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
        metadata={
            "help": "Exponential mean of every dynamic balance's log-odds over steps, of "
            "ngdiff_unbiased of its squared norms; 0 is none."
        },
    )
    ngdiff_min: float = field(
        default=0.0, metadata={"help": "Least lambda of every dynamic balance."}
    )
    ngdiff_max: float = field(
        default=1.0, metadata={"help": "Largest lambda of every dynamic balance."}
    )
    calibrated_every: int = field(
        default=24, metadata={"help": "Most steps between two exact measurements of calibrated."}
    )
    calibrated_tolerance: float = field(
        default=0.3,
        metadata={
            "help": "An exact measurement of calibrated that is off by more, in log-odds, halves "
            "the steps to the next; any other doubles them."
        },
    )
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
        # the Trainer knows only losses whose names end with loss
        of = "|".join(map(re.escape, ("p", "r", *self.make_segments().names)))
        of_segment = re.search(rf"(^|_)loss_({of})$", self.metric_for_best_model or "")
        if self.greater_is_better is None and of_segment:
            self.greater_is_better = False
        super().__post_init__()
        if self.train_prompt not in ("generation", "conversation"):
            raise ValueError(
                f"train_prompt must be generation or conversation, got {self.train_prompt!r}"
            )
        if self.max_length is not None and self.max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {self.max_length}")
        self.make_segments()

    def make_segments(self) -> Segments:
        """The segments that the options name."""
        return Segments.parse(self.segments)

    def make_balance(self, name: str | None = None) -> Balance:
        """The controller that the options name, or another one with the same options."""
        return make_controller(name or self.balance, self)

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
            pad_token=self.pad_token,
            pad_to_multiple_of=self.pad_to_multiple_of,  # type: ignore[arg-type]
        )
