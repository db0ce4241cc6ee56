"""The lines of one study: which runs it has, and new ones as they end."""

from __future__ import annotations

import logging
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
    name_of,
    read_lines,
)
from percbal.study.machine import made_here, same_kind
from percbal.study.plan import START, Run, Start, Study

log = logging.getLogger(__name__)

WHERE = ("machine", "versions", "day", "thirds")  # of a line, as its job said


class Ledger:
    """Raises ValueError where the file has lines of another registration.

    registered: the hash of what was said beforehand; "" for a study without.
    """

    def __init__(self, study: Study, path: Path, registered: str = "") -> None:
        self.study, self.path, self.registered = study, path, registered
        other = {line["registered"] for line in self.lines()} - {registered}
        if other:
            others = ", ".join(sorted(each or "none" for each in other))
            raise ValueError(
                f"{path} has lines of another registration ({others}, not "
                f"{registered or 'none'}): what was said beforehand was changed after them"
            )

    def lines(self, *kinds: str) -> list[Line]:
        """Of these kinds, or all."""
        return [line for line in read_lines(self.path) if not kinds or line["kind"] in kinds]

    def has(self, run: Run, *kinds: str) -> bool:
        """Whether a run with these very settings has a line."""
        return self._find(self.lines(*kinds), run) is not None

    def _append(self, line: Line, run: Run) -> None:
        """Unless the run has a line of this kind, whoever else adds it just now."""
        first: list[Line | None] = []

        def there(lines: list[Line]) -> bool:
            first.append(self._find([each for each in lines if each["kind"] == line["kind"]], run))
            return first[0] is not None

        append_line(self.path, line, there)
        if first[0] and first[0]["figures"] != line["figures"]:
            log.warning(
                "%s has a line in %s, with other figures than it has here: %s",
                name_of(line),
                self.path,
                line["figures"],
            )

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
        self._append(self._line(kind, run, evaluation), run)

    def add_repeat(self, run: Run, evaluation: dict[str, Any]) -> None:
        """Of a run that was made again: whether all its figures are what they were."""
        first = self._find(self.lines("run"), run)
        assert first is not None, "only what has a line is repeated"
        line = self._line("repeat", run, evaluation)
        equal = {name: line[name] == first[name] for name in ("figures", "weights")}
        self._append(line | {"equal": equal}, run)

    def add_start(self, start: Start, outcome: dict[str, Any], weights: str) -> None:
        """The line of a start that has ended, unless one with these weights is there.

        outcome: as `percbal.study.competence.Outcome`, with where and when it was made.
        """
        measured = outcome["measured"]
        line = {
            "kind": "start",
            "study": self.study.name,
            "start": start.name,
            "seed": start.seed,
            "registered": self.registered,
            "plan": digest(self.study.start_settings(start)),
            "status": outcome["verdict"],
            "figures": measured[-1] if measured else {},
            "weights": weights,
            **{name: outcome[name] for name in ("seconds", *WHERE) if name in outcome},
        }
        known = ("kind", "study", "start", "seed", "status", "weights")

        def there(lines: list[Line]) -> bool:
            return any(all(line[n] == each.get(n) for n in known) for each in lines)

        append_line(self.path, line, there)

    def _line(self, kind: str, run: Run, evaluation: dict[str, Any]) -> Line:
        return {
            "kind": kind,
            **key(self.study, run),
            "plan": evaluation["plan"],
            **self._paid(run),
            "registered": self.registered,
            "status": evaluation["status"],
            "figures": figures(evaluation),
            "weights": evaluation["weights"],
            "seconds": evaluation.get("seconds", {}),
            # thirds: of what the means over thirds are; lines without it have those of log entries
            **{name: evaluation[name] for name in WHERE if name in evaluation},
        }

    def _paid(self, run: Run) -> Line:
        """What perception tokens were paid by, and by how often flipped verdicts."""
        arm = None if run.arm == START else self.study.arm(run.arm)
        flips = {"flips": arm.flips} if arm and arm.flips else {}
        return {"reward": arm.reward() if arm else "", **flips}

    def to_repeat(self, runs: list[Run], threads: int) -> list[Run]:
        """Of these, the ones that are made twice, were made on such a machine, and once.

        threads: of a job here.
        """
        found, again, own = self.lines("run"), self.lines("repeat"), made_here(threads)
        chosen = []
        for run in runs:
            line = self._find(found, run)
            here = line and line["figures"] and same_kind(line, own)
            if line and here and is_repeated(line) and self._find(again, run) is None:
                chosen.append(run)
        return chosen

    def rates(self) -> dict[str, float]:
        """Arm -> learning rate as tuned, of arms that take another's too."""
        if self.study.tuning is None:
            return {}
        chosen = self.choices()
        owners = {arm.name: arm.rate_of or arm.name for arm in self.study.arms}
        return {name: chosen[owner] for name, owner in owners.items() if owner in chosen}

    def choices(self) -> dict[str, float]:
        """Arm -> learning rate as tuned, of the arms that were tuned."""
        assert self.study.tuning is not None
        return chosen_rates(read_lines(self.rates_file()), self.study.tuning)

    def rates_file(self) -> Path:
        """Where the lines of the tuning are looked for."""
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
            choice = {
                "kind": "choice",
                "study": self.study.name,
                "arm": arm,
                "rate": rate,
                "by": tuning.by,
                "grid": list(tuning.grid),
                "seeds": list(tuning.seeds),
                "means": means,
                "registered": self.registered,
            }

            def chosen(lines: list[Line], arm: str = arm) -> bool:
                return arm in chosen_rates(lines, tuning)

            append_line(self.path, choice, chosen)
