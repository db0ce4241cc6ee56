"""What is said of a study before it is run: hypotheses, contrasts, exclusions, predicted signs.

A file of docs/studies, prose for people and ``contrasts`` for the tables, whose hash every line of
results carries. A changed file has another hash, and no line of the former counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from percbal.study.figure_names import is_accuracy, is_figure
from percbal.study.files import digest, require

SIGNS = ("+", "-", "0", "?")
LOG_ODDS = "log-odds"


@dataclass(frozen=True)
class Contrast:
    """A figure of an arm minus that of another, from the same starts, and what is expected.

    finding: the number of the paper's finding that it tests; 0 for one of our own.
    minus: another arm; "" to hold the figure against ``against``.
    curve, ordered: of a dose study, in the gain of exact a_p in log-odds against the start, and in
        the r of an arm's reward with true perception; ``figure`` is then not read. ``curve`` alone:
        the slope of the gain over r, by least squares, of these arms. With an ``arm``: its gain
        minus what the line through the curve's says at its r. ``ordered``: in each start, of two
        arms the gain of the one with the larger r there minus the other's.
    figure: of `percbal.study.lines.figures`. against: a number, or another figure of the same run.
    scale: "" or log-odds, of both before they are subtracted.
    paper: the sign that the paper reports. predicted: the sign that we expect here.
    chance: how likely we held the prediction to be: that sign and significant, or as good as 0.
    primary: corrected by Holm together with the other primary ones.
    margin: an interval within it, of a figure in points, is as good as 0.
    reason: why it cannot be tested here; the verdict is then that.
    """

    name: str
    finding: int
    study: str = ""
    arm: str = ""
    minus: str = ""
    figure: str = "a"
    against: float | str = 0.0
    scale: str = ""
    curve: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()
    paper: str = "+"
    predicted: str = "+"
    chance: float | None = None
    primary: bool = False
    margin: float = 0.02
    reason: str = ""

    def __post_init__(self) -> None:
        for sign in (self.paper, self.predicted):
            if sign not in SIGNS:
                raise ValueError(f"{self.name}: a sign is one of {' '.join(SIGNS)}, got {sign!r}")
        if self.scale not in ("", LOG_ODDS):
            raise ValueError(f"{self.name}: scale must be {LOG_ODDS}, got {self.scale!r}")
        for name in (self.figure, self.against):
            if isinstance(name, str) and not is_figure(name):
                raise ValueError(f"{self.name}: no line has a figure {name!r}")
        if self.curve and len(self.curve) < 3 or len(self.ordered) not in (0, 2):
            raise ValueError(f"{self.name}: a curve needs three arms, an order two")
        if not self.reason and not (self.study and (self.arm or self.doses)):
            raise ValueError(f"{self.name}: a contrast needs a study and an arm, or a reason")

    @property
    def in_points(self) -> bool:
        """Whether the difference is one of accuracies, which is shown in percent."""
        return is_accuracy(self.figure) and not (self.scale or self.doses)

    @property
    def doses(self) -> tuple[str, ...]:
        """The arms that are compared by their doses; () of a contrast of another kind."""
        own = (self.arm,) if self.arm and self.curve else ()
        return (*self.curve, *self.ordered, *own)


@dataclass(frozen=True)
class Registration:
    """The file: its name and hash; its ``prose``; how many runs of which arms it plans."""

    name: str
    hash: str
    prose: dict[str, Any]
    findings: dict[int, str]
    contrasts: tuple[Contrast, ...]
    planned: dict[str, dict[str, Any]]  # study -> arms, starts


def read_registration(path: Path) -> Registration:
    """ValueError, one sentence, for a file that is not there or damaged."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise ValueError(f"what is expected must be said before a run: {problem}") from None
    try:
        fields = yaml.safe_load(content)
        require(fields, ("title", "contrasts", "planned"), "it")
        for study, plan in fields["planned"].items():
            require(plan, ("arms", "starts"), f"the plan of {study}")
        contrasts = tuple(Contrast(**values) for values in fields.pop("contrasts"))
        return Registration(
            path.stem,
            digest(content),
            contrasts=contrasts,
            findings=fields.pop("findings", {}),
            planned=fields.pop("planned"),
            prose=fields,
        )
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as problem:
        raise ValueError(f"{path} is damaged: {problem}") from None
