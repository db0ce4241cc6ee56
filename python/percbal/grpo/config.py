"""The options of perception-aware GRPO, beside TRL's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from trl import GRPOConfig

from percbal.models.checkpointing import CheckpointingNames
from percbal.models.finite import NonFiniteArguments
from percbal.objective.alpha import CouplingAlpha, FixedAlpha
from percbal.objective.balance import Balance
from percbal.objective.controllers import make_controller
from percbal.objective.credit import CREDITS, by_segment
from percbal.responses.options import ResponseFormatArguments
from percbal.segments.names import Segments


@dataclass
class BalancedGRPOConfig(
    CheckpointingNames, NonFiniteArguments, ResponseFormatArguments, GRPOConfig
):
    """``trl.GRPOConfig``, what each reward means, and which tokens are credited with it."""

    HELP_GROUP: ClassVar[str] = "rewards and credit"

    credit: str = field(
        default="segment",
        metadata={
            "help": "scalar (one mixed reward for all tokens), normalized (the same after each "
            "reward's own z-score), segment (reasoning tokens have the outcome's alone), "
            "same_perception (and only against rollouts that perceived the same)."
        },
    )
    alpha: float = field(
        default=0.5, metadata={"help": "Weight of the perception reward; the outcome has the rest."}
    )
    alpha_rule: str = field(
        default="fixed", metadata={"help": "fixed, or coupling: from the measured correlation."}
    )
    alpha_min: float = field(default=0.1, metadata={"help": "Least alpha of the coupling rule."})
    alpha_max: float = field(default=0.6, metadata={"help": "Largest alpha of the coupling rule."})
    alpha_target: float = field(
        default=0.7,
        metadata={"help": "Within-group correlation with perception that the rule wants."},
    )
    outcome_reward: str = field(
        default="outcome", metadata={"help": "Name of the reward function for the answer."}
    )
    perception_reward: str | None = field(
        default="perception",
        metadata={"help": "Name of the reward function for perception, true or a surrogate."},
    )
    true_perception: str | None = field(
        default=None,
        metadata={
            "help": "Name of a function that is only measured: the truth a surrogate stands for."
        },
    )
    true_reasoning: str | None = field(
        default=None,
        metadata={
            "help": "Name of a function that is only measured: right for what was perceived."
        },
    )
    measured: list[str] = field(
        default_factory=list,
        metadata={"help": "Names of further functions that are logged and never rewarded."},
    )
    surrogates: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Names of your own reward functions that need no label: their coupling with "
            "true perception is logged, and none is taken for it."
        },
    )
    balance: str | None = field(
        default=None,
        metadata={
            "help": "token_mean (TRL's average over all tokens), fixed (lam), or module:Class. "
            "Default: fixed for credit segment and same_perception and for weights in segments, "
            "else token_mean."
        },
    )
    lam: float = field(
        default=0.5, metadata={"help": "Weight of perception's mean policy loss under fixed."}
    )
    segments: dict[str, Any] | str | None = field(
        default=None,
        metadata={
            "help": "Names of the segments, each with the weight of its mean policy loss: "
            '{"perception": 0.5, "answer": 0.2, "reasoning": 0.3}, or '
            "perception=0.5,answer=0.2,reasoning=0.3; under token_mean without weights. None: "
            "perception and reasoning, by lam."
        },
    )
    blind_samples: int = field(
        default=1, metadata={"help": "Blind answers per perception, for the reward blind_reanswer."}
    )
    blind_from: str = field(
        default="text",
        metadata={
            "help": "text: ask again with the perception as text and no image; continue: go on "
            "from the perception with the image made grey."
        },
    )
    logprobs: str = field(
        default="percbal",
        metadata={"help": "Log-probabilities by percbal_ops (percbal) or by TRL's kernel (trl)."},
    )
    reward_timeout: float | None = field(
        default=600.0, metadata={"help": "Seconds that a reward function may take; None: no limit."}
    )
    on_reward_error: str = field(
        default="raise",
        metadata={"help": "raise: save and stop; skip: count it and go on without that reward."},
    )
    log_completions: bool = field(
        default=True, metadata={"help": "Save rollouts, for `percbal coupling`."}
    )
    num_completions_to_print: int | None = field(
        default=0, metadata={"help": "Rollouts shown on the terminal at every log."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {
            "credit": CREDITS,
            "alpha_rule": ("fixed", "coupling"),
            "blind_from": ("text", "continue"),
            "logprobs": ("percbal", "trl"),
            "on_reward_error": ("raise", "skip"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                shown = ", ".join(str(choice) for choice in allowed if choice)
                raise ValueError(f"{name} must be one of {shown}, got {getattr(self, name)!r}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1, got {self.alpha}")
        if self.outcome_reward == self.perception_reward:
            raise ValueError(
                f"outcome_reward and perception_reward are both {self.outcome_reward!r}; they must "
                "be two functions, or perception_reward null with alpha 0"
            )
        self.make_alpha()  # so that impossible bounds are found before a model is loaded
        self.make_balance()
        if self.blind_samples < 1:
            raise ValueError(f"blind_samples must be at least 1, got {self.blind_samples}")
        if self.reward_timeout is not None and not self.reward_timeout > 0:
            raise ValueError(f"reward_timeout must be positive, got {self.reward_timeout}")
        self.make_format()

    def make_alpha(self) -> FixedAlpha | CouplingAlpha:
        """The controller that the options name."""
        if self.alpha_rule == "fixed":
            return FixedAlpha(self.alpha)
        return CouplingAlpha(
            self.alpha, target=self.alpha_target, low=self.alpha_min, high=self.alpha_max
        )

    def make_segments(self) -> Segments:
        """The segments that the options name. ValueError where credit has no use for them."""
        segments = Segments.parse(self.segments)
        missing = {"perception", "reasoning"}.difference(segments.names)
        if missing or segments.prompt is not None:
            raise ValueError(
                "segments of GRPO must name perception and reasoning and not prompt, which is not "
                f"sampled, got {', '.join(segments.names)}"
            )
        return segments

    def make_balance(self) -> Balance:
        """The weights of the segments' mean policy losses."""
        segments = self.make_segments()
        separate = by_segment(self.credit) or any(segments.weights)
        name = self.balance or ("fixed" if separate else "token_mean")
        return make_controller(name, self, counts_alone=True)

    def roles(self) -> dict[str, Any]:
        """The named reward functions, by what they are for."""
        return {
            "outcome_reward": self.outcome_reward,
            "perception_reward": self.perception_reward,
            "true_perception": self.true_perception,
            "true_reasoning": self.true_reasoning,
        }
