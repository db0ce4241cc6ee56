"""How completions are drawn: greedily, or several of each instance at a temperature."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """The default is one greedy completion.

    samples: completions of each instance and way of asking.
    temperature: 0 is greedy; None for 0 with one sample, else 1.
    top_p: only the likeliest tokens that have this probability together are drawn.
    Raises ValueError for what draws nothing, or the same again.
    """

    samples: int = 1
    temperature: float | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature is None:
            object.__setattr__(self, "temperature", float(self.samples > 1))
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")
        if not 0 <= self.degree < float("inf"):
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.greedy and self.samples > 1:
            raise ValueError(f"at temperature 0 all {self.samples} samples would be the same")
        if self.greedy and self.top_p < 1:
            raise ValueError("top_p draws nothing at temperature 0, which is the default")

    @property
    def degree(self) -> float:
        """The temperature."""
        return self.temperature or 0.0

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.degree == 0
