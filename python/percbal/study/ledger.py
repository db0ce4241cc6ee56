"""The lines of one study: which runs it has, and new ones as they end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from percbal.study.files import digest
from percbal.study.lines import (
    KEY,
    Line,
    append_line,
    best_rate,
    chosen_rates,
    figures,
    is_repeated,
    key,
    read_lines,
)
from percbal.study.machine import machine, same_kind, versions
from percbal.study.plan import Run, Study


class Ledger:
    """Raises ValueError where the file has lines of another registration.

    registered: the hash of what was said beforehand; "" for a study without.
    """

    def __init__(self, study: Study, path: Path, registered: str = "") -> None:
        self.study, self.path, self.registered = study, path, registered
        other = {line["registered"] for line in self.lines()} - {registered}
        if other:
            raise ValueError(
                f"{path} has lines of another registration ({', '.join(sorted(other))}, not "
                f"{registered or 'none'}): what was said beforehand was changed after them"
            )

    def lines(self, *kinds: str) -> list[Line]:
        """Of these kinds, or all."""
        return [line for line in read_lines(self.path) if not kinds or line["kind"] in kinds]

    def has(self, run: Run, *kinds: str) -> bool:
        """Whether a run with these very settings has a line."""
        return self._find(self.lines(*kinds), run) is not None

    def without(self, runs: list[Run], kind: str) -> list[Run]:
        """The runs that have no line yet."""
        lines = self.lines(kind)
        return [run for run in runs if self._find(lines, run) is None]

    def _find(self, lines: list[Line], run: Run) -> Line | None:
        names, plan = key(self.study, run), digest(self.study.settings(run))
        for line in lines:
            if line["plan"] == plan and all(line[part] == names[part] for part in KEY):
                return line
        return None

    def add(self, run: Run, evaluation: dict[str, Any]) -> None:
        """The line of a run that has ended, unless it is there."""
        kind = "tuning" if run.tuning else "run"
        if evaluation["plan"] != digest(self.study.settings(run)):
            raise ValueError(
                f"{run.arm} from {run.start}, seed {run.seed} was run with other settings; choose "
                "another --name"
            )
        if not self.has(run, kind):
            append_line(self.path, self._line(kind, run, evaluation))

    def add_repeat(self, run: Run, evaluation: dict[str, Any]) -> None:
        """Of a run that was made again: whether all its figures are what they were."""
        first = self._find(self.lines("run"), run)
        assert first is not None, "only what has a line is repeated"
        line = self._line("repeat", run, evaluation)
        equal = {name: line[name] == first[name] for name in ("figures", "weights")}
        append_line(self.path, line | {"equal": equal})

    def _line(self, kind: str, run: Run, evaluation: dict[str, Any]) -> Line:
        return {
            "kind": kind,
            **key(self.study, run),
            "plan": evaluation["plan"],
            "registered": self.registered,
            "status": evaluation["status"],
            "figures": figures(evaluation),
            "weights": evaluation["weights"],
            "seconds": evaluation.get("seconds", {}),
            "machine": machine(),
            "versions": versions(),
            "day": time.strftime("%Y-%m-%d", time.gmtime()),
        }

    def to_repeat(self, runs: list[Run]) -> list[Run]:
        """Of these, the ones that are made twice, were made by such a processor, and once."""
        found, again = self.lines("run"), self.lines("repeat")
        chosen = []
        for run in runs:
            line = self._find(found, run)
            here = line and line["figures"] and same_kind(line["machine"], machine())
            if line and here and is_repeated(line) and self._find(again, run) is None:
                chosen.append(run)
        return chosen

    def rates(self) -> dict[str, float]:
        """Arm -> learning rate as tuned, of arms that take another's too."""
        if self.study.tuning is None:
            return {}
        chosen = chosen_rates(read_lines(self._rates_file()), self.study.tuning.study)
        owners = {arm.name: arm.rate_of or arm.name for arm in self.study.arms}
        return {name: chosen[owner] for name, owner in owners.items() if owner in chosen}

    def _rates_file(self) -> Path:
        name = self.study.tuning.lines if self.study.tuning else ""
        return self.path.with_name(name) if name else self.path

    def choose_rates(self) -> None:
        """A line for every arm whose tuning is complete and that has none."""
        tuning = self.study.tuning
        assert tuning is not None
        runs, lines, known = self.study.tuning_runs(), self.lines("tuning"), self.rates()
        for arm in dict.fromkeys(run.arm for run in runs):
            found = [self._find(lines, run) for run in runs if run.arm == arm]
            if arm in known or None in found:
                continue
            rate, means = best_rate([line for line in found if line], tuning.by)
            append_line(
                self.path,
                {
                    "kind": "choice",
                    "study": self.study.name,
                    "arm": arm,
                    "rate": rate,
                    "by": tuning.by,
                    "means": means,
                    "registered": self.registered,
                },
            )
