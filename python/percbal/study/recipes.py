"""How one model of a study is trained, as data: when to stop, with which options, at which rate."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

Band = tuple[float, float]


@dataclass(frozen=True)
class Stop:
    """Ends a training when the model is competent enough, and not at a step.

    Training pauses every ``every`` steps and measures ``instances`` pictures that nothing else
    uses. It stops when every figure that has a band is at its lower end or above. It has failed
    where a figure is then above its band, where that is so before ``least`` steps, and where the
    steps run out; a failed start is counted, and nothing is trained from it.

    exact_p: band of the mean exact probability of the true perception; None: not asked for.
    sampled_r: band of a_r at temperature 1, a sample of each picture; None: not asked for.
    """

    exact_p: Band | None = None
    sampled_r: Band | None = None
    every: int = 20
    least: int = 0
    instances: int = 128

    def __post_init__(self) -> None:
        if not self.bands():
            raise ValueError("a stop rule needs exact_p or sampled_r")
        for name, (low, high) in self.bands().items():
            if not 0 <= low < high <= 1:
                raise ValueError(f"{name} must be (low, high) in [0, 1], got {(low, high)}")

    def bands(self) -> dict[str, Band]:
        """Those that are asked for, by the name of the figure."""
        both = {"exact_p": self.exact_p, "sampled_r": self.sampled_r}
        return {name: band for name, band in both.items() if band is not None}

    def verdict(self, figures: dict[str, float], step: int) -> str | None:
        """``reached``, why it failed, or None to go on, by what was measured after a step."""
        bands = self.bands()
        if any(figures[name] < low for name, (low, _) in bands.items()):
            return None
        if step < self.least:
            return f"competent after {step} steps, before {self.least}"
        above = [name for name, (_, high) in bands.items() if figures[name] > high]
        if above:
            return f"{above[0]} went to {figures[above[0]]:.3f}, above {bands[above[0]][1]}"
        return REACHED


REACHED, NO_START = "reached", "no start"  # of a start
DONE, DIVERGED, FLOOR = "done", "diverged", "below the floor"  # of a run


@dataclass(frozen=True)
class SFT:
    """A fine-tuning: AdamW, batches of like lengths, cosine decay after a fiftieth of warm-up; with
    a stop rule the rate is constant after the warm-up, and the steps are the most it may take.

    any_length: batches of any lengths. Those of like lengths come from the longest to the shortest,
        again and again, and where length says what is seen, such as how many edges there are, a
        model learns that from its last batches and not from the picture.
    """

    steps: int
    batch_size: int = 32
    instances: int | None = None  # seen again and again; None: every batch has fresh ones
    learning_rate: float = 3e-3
    stop: Stop | None = None
    any_length: bool = False


@dataclass(frozen=True)
class GRPO:
    """A reinforcement: an update takes ``prompts * group`` rollouts at temperature 1, once, without
    a KL term.

    readable: the least share of readable rollouts, by the mean of ten updates; below it the run is
        stopped and counted as one that fell through the floor.
    watched: updates after which exact a_p is measured, on the pictures of the results.
    """

    updates: int = 45
    prompts: int = 32
    group: int = 16
    learning_rate: float = 2e-4
    warmup: int = 3
    max_tokens: int = 104
    readable: float = 0.0
    watched: tuple[int, ...] = ()

    def as_fine_tuning(self, like: SFT) -> SFT:
        """Fine-tuning on fresh instances for as much compute as the updates.

        A rollout's token costs a forward pass to sample and three to train on (one forward, one
        backward of twice its cost), a fine-tuning token three.
        """
        steps = round(4 / 3 * self.updates * self.prompts * self.group / like.batch_size)
        return SFT(steps, like.batch_size, None, like.learning_rate)


@dataclass(frozen=True)
class Arm:
    """One way to go on from a start.

    options: over the study's own, those of ``BalancedSFTConfig`` or ``BalancedGRPOConfig``.
    oracle: prompts go on with the true perception, so that only reasoning is left to the policy
        (GRPO).
    first: options of a training before that, which takes ``first_share`` of the arm's steps (SFT).
    rate_of: the arm whose tuned learning rate it takes; default its own.
    flips: the chance that the verdict of ``flipped_perception`` is turned over (GRPO).
    """

    name: str
    kind: str = "sft"
    options: dict[str, Any] = field(default_factory=dict)
    oracle: bool = False
    first: dict[str, Any] = field(default_factory=dict)
    first_share: float = 0.0
    rate_of: str = ""
    flips: float = 0.0

    def reward(self) -> str:
        """What perception tokens are paid by, by the name of the reward function (GRPO); "" of a
        fine-tuning."""
        if self.kind == "sft":
            return ""
        paid = self.options.get("perception_reward", "perception")
        return paid if self.options.get("alpha", 0.5) > 0 else "outcome"


@dataclass(frozen=True)
class Tuning:
    """Every arm at every rate of one grid, from starts that no result uses.

    An arm takes the rate with the best mean over these starts, measured on pictures that no result
    uses; a run that diverged counts with what it then is.
    grid: learning rates, the same for all arms. seeds: of the bases.
    study: the one that tunes; others take what it chose from the lines.
    by: the figure.
    lines: the name of the file that has them, beside the study's own; "" for its own.
    """

    grid: tuple[float, ...]
    seeds: tuple[int, ...]
    study: str
    by: str = "a"
    lines: str = ""


def hashed(value: Any) -> Any:
    """Settings as JSON for a hash, without fields that are empty, so that a hash stands when a kind
    of settings gets a further field that is empty by default. Options are said as they are."""
    if not is_dataclass(value):
        return value
    each = {field.name: hashed(getattr(value, field.name)) for field in fields(value)}
    return {n: v for n, v in each.items() if v is not None and v not in ("", 0.0, (), {})}
