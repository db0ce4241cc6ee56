"""What a diagnosis found: the accuracies, the errors, and every instance behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from percbal.evaluate.accuracies import Accuracy, headroom, measured, pass_at_k
from percbal.evaluate.difficulty import curves
from percbal.evaluate.intervals import Interval
from percbal.evaluate.names import ERRORS, RIGHT, VERSION
from percbal.evaluate.questions import IMAGE, TEXT, TOLD
from percbal.evaluate.records import Record, Trial


@dataclass(frozen=True)
class Diagnosis:
    """Everything measured; docs/diagnose.md says what it is called in JSON."""

    n: int
    split: str  # of the task, or what was asked of the data set
    seed: int
    ways: tuple[str, ...]  # of asking
    samples: int  # completions of each instance and way
    refusals: dict[str, int]  # why parts do not count, such as "perception missing"
    records: list[Record]
    source: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def accuracies(self) -> dict[str, Accuracy]:
        """By name, those that were asked."""
        return measured(self.records)

    @cached_property
    def headroom(self) -> dict[str, Accuracy]:
        """``perception`` and ``reasoning``: how much higher a would be without errors in it."""
        return headroom(self.records)

    @property
    def a(self) -> Interval:
        """The right answers from the image."""
        return self.accuracies["a"].interval

    @property
    def a_p(self) -> Interval:
        """The right perceptions."""
        return self.accuracies["a_p"].interval

    @property
    def a_r(self) -> Interval:
        """The right answers after the true perception. KeyError where that was not asked."""
        return self.accuracies["a_r"].interval

    @property
    def perception_f1(self) -> float:
        """The mean share of right parts."""
        return self.accuracies["perception_f1"].interval.value

    @property
    def trials(self) -> list[Trial]:
        """Of all instances."""
        return [trial for record in self.records for trial in record.trials]

    @property
    def parse_failures(self) -> int:
        """Of the completions from the image."""
        return sum(not trial.parsed for trial in self.trials)

    @property
    def errors(self) -> dict[str, int]:
        """How many completions from the image have which error; they sum to all of them."""
        found = Counter(trial.error for trial in self.trials)
        return {name: found[name] for name in ERRORS}

    @property
    def right_in_spite(self) -> int:
        """Right answers from the image in spite of a wrong perception."""
        return sum(trial.error == RIGHT and not trial.a_p for trial in self.trials)

    @property
    def cut(self) -> dict[str, int]:
        """Completions behind each accuracy that ended at the limit of tokens."""
        names = {IMAGE: ("a", "a_p"), TOLD: ("a_r",), TEXT: ("a_r_text",)}
        fields = {IMAGE: "cut", TOLD: "cut_reasoned", TEXT: "cut_text"}
        return {
            name: sum(getattr(trial, fields[way]) for trial in self.trials)
            for way in self.ways
            for name in names[way]
        }

    @cached_property
    def difficulty(self) -> list[dict[str, Any]]:
        """The accuracies by the values of every field of difficulty."""
        return curves(self.records, _as_json)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON (docs/diagnose.md#the-result-as-json)."""
        return {
            "version": VERSION,
            "source": dict(self.source),
            "model": self.model,
            "n": self.n,
            "split": self.split,
            "seed": self.seed,
            "options": {"ways": list(self.ways), "samples": self.samples, **self.options},
            "accuracies": _as_json(self.records),
            "headroom": {name: room._asdict() for name, room in self.headroom.items()},
            "pass_at_k": {
                name: {k: value._asdict() for k, value in by_k.items()}
                for name, by_k in self.pass_at_k.items()
            },
            "errors": self.errors,
            "right_in_spite": self.right_in_spite,
            "parse_failures": self.parse_failures,
            "refusals": self.refusals,
            "cut": self.cut,
            "difficulty": self.difficulty,
            "records": [asdict(record) for record in self.records],
        }

    @property
    def pass_at_k(self) -> dict[str, dict[str, Accuracy]]:
        """Accuracy -> k -> pass@k; {} without samples."""
        return pass_at_k(self.records, self.samples) if self.samples > 1 else {}

    def summary(self) -> str:
        """One line for people, and a second one where completions were cut."""
        parts = [
            f"{name} {value:.3f} [{low:.3f}, {high:.3f}]"
            for name, (value, low, high, _) in self.accuracies.items()
            if name in ("a", "a_p", "a_r")
        ]
        why = ", ".join(f"{reason} {count}" for reason, count in self.refusals.items())
        unreadable = f"{self.parse_failures} unreadable" + (f" ({why})" if why else "")
        line = f"{'  '.join(parts)}  n = {self.n}, {unreadable}"
        if not any(self.cut.values()):
            return line
        of = len(self.trials)
        cut = ", ".join(f"{name} {count} of {of}" for name, count in self.cut.items())
        return f"{line}\ncut at the limit of tokens: {cut}; --max-new-tokens sets a larger one"


def _as_json(records: Sequence[Record]) -> dict[str, Any]:
    return {name: accuracy._asdict() for name, accuracy in measured(records).items()}
