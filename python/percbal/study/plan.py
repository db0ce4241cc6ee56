"""What a study trains and measures, as data.

A base model, taught to see a little; starts, which are bases or what fine-tuning made of them;
arms, each of which goes on from every start; and what is measured at the end.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from percbal.study.json_files import write_json
from percbal.study.recipes import GRPO as GRPO
from percbal.study.recipes import SFT as SFT
from percbal.study.recipes import Arm as Arm
from percbal.study.recipes import Stop, Tuning, hashed

START = "start"  # in place of an arm: the start itself, measured and not trained
TUNING = "tuning"  # the population of the starts that rates are tuned from
KINDS = ("sft", "grpo")
TEST_SEED = 20_000  # of the test instances, the same for every run
# Pictures that no training drew: of solution grids of the test's own, and of those that training
# draws. What was learned about the grids rather than from the pictures shows in the second alone.
NEW, KNOWN = "new", "known"
SPLITS = {KNOWN: "train", NEW: "test"}


@dataclass(frozen=True)
class Start:
    """A model that arms go on from: the base of ``seed``, or what ``arm`` made of it.

    population: starts of one population are repetitions of one another, and share a row.
    stop: ends the arm's fine-tuning in place of a number of steps; bases stop by the study's.
    """

    name: str
    seed: int
    arm: Arm | None = None
    population: str = ""  # default: the name, a start on its own
    stop: Stop | None = None

    def of(self) -> str:
        """Its population."""
        return self.population or self.name


@dataclass(frozen=True)
class Run:
    """An arm from a start, by their names, with a seed, which draws batches, prompts, rollouts.

    rate: the learning rate; None: the recipe's.
    tuning: it tunes the rate, and is no result.
    """

    start: str
    arm: str
    seed: int
    rate: float | None = None
    tuning: bool = False


@dataclass(frozen=True)
class Study:
    """Every arm from every start, on the same batches or prompts in the same order for each seed.

    A base has random weights and is trained on perception alone, so that what follows post-trains a
    model that sees already, if not well. Seeds are fixed in advance: none is dropped or added
    afterwards.
    """

    name: str
    about: str
    starts: tuple[Start, ...]
    arms: tuple[Arm, ...]
    sft: SFT  # on full responses: of starts that have an arm, and of arms that go on from a base
    base: SFT = SFT(500, 64, 6_000)
    grpo: GRPO = GRPO()
    seeds: tuple[int, ...] = ()  # of the runs from every start; (): one run, with the start's seed
    compared: tuple[tuple[str, str], ...] = ()  # arms; shown is the first one minus the second
    task: str = "sudoku"
    task_options: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)
    test_instances: int = 512
    samples: int = 0  # of each test instance at temperature 1, 0 to 9; greedy decoding always
    known: bool = False  # test also on as many new pictures of what training draws its own from
    measure_starts: bool = False  # rows are then changes against the start
    exact: bool = False  # also the exact probability of each true perception
    tuning: Tuning | None = None
    registered: str = ""  # the file of docs/studies that says beforehand what is expected

    def __post_init__(self) -> None:
        self._check_names("starts", [start.name for start in self.starts], ())
        self._check_names("arms", [arm.name for arm in self.arms], (START,))
        kinds = {a.kind for a in (*self.arms, *(s.arm for s in self.starts if s.arm))}
        if not kinds <= set(KINDS):
            raise ValueError(f"an arm's kind must be one of {KINDS}, got {sorted(kinds)}")
        if not 0 <= self.samples <= 9:
            raise ValueError(f"samples must be 0 to 9, one digit, got {self.samples}")
        if self.sft.instances is None or self.base.instances is None:
            raise ValueError("bases and starts need a number of instances, which they share")
        if {s.seed for s in self.starts} & {s.seed for s in self.tuning_starts()}:
            raise ValueError("rates are tuned on seeds of their own, not on those of the starts")
        unknown = {name for pair in self.compared for name in pair} - {a.name for a in self.arms}
        if unknown:
            raise ValueError(f"there is no arm {', '.join(sorted(unknown))} to compare")

    @staticmethod
    def _check_names(what: str, names: list[str], taken: tuple[str, ...]) -> None:
        """As directories, too."""
        folders = [folder(name) for name in names]
        if not names or len(set(folders)) != len(folders) or set(names) & set(taken):
            but = f", none of them {', '.join(taken)}" if taken else ""
            raise ValueError(f"a study needs {what} with names of their own{but}, got {names}")

    def arm(self, name: str) -> Arm:
        """The arm called ``name``; ValueError names the known ones."""
        return self._named("arm", self.arms, name)

    def start(self, name: str) -> Start:
        """The start called ``name``; ValueError names the known ones."""
        return self._named("start", (*self.starts, *self.tuning_starts()), name)

    def tuning_starts(self) -> tuple[Start, ...]:
        """Bases that rates are tuned from."""
        seeds = self.tuning.seeds if self.tunes() and self.tuning else ()
        return tuple(Start(f"tuning {seed}", seed, population=TUNING) for seed in seeds)

    def tunes(self) -> bool:
        """Whether it tunes its rates itself."""
        return self.tuning is not None and self.tuning.study == self.name

    def tuning_runs(self) -> list[Run]:
        """Seed by seed, every arm that has a rate of its own at every rate."""
        assert self.tuning is not None
        return [
            Run(start.name, arm.name, start.seed, rate, tuning=True)
            for start in self.tuning_starts()
            for rate in self.tuning.grid
            for arm in self.arms
            if arm.rate_of in ("", arm.name)
        ]

    def _named(self, what: str, among: tuple[Any, ...], name: str) -> Any:
        for one in among:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in among)
        raise ValueError(f"study {self.name!r} has no {what} {name!r}; it has: {known}")

    def recipe(self, start: Start, arm: Arm, rate: float | None = None) -> SFT | GRPO:
        """How an arm is trained from a start."""
        recipe: SFT | GRPO = self.grpo
        if arm.kind == "sft":  # what has seen full responses goes on with fresh ones
            recipe = self.sft if start.arm is None else self.grpo.as_fine_tuning(self.sft)
        return recipe if rate is None else replace(recipe, learning_rate=rate)

    def start_recipe(self, start: Start) -> SFT:
        """How a start is fine-tuned from its base; a base's own for one that has no arm."""
        return self.base if start.arm is None else replace(self.sft, stop=start.stop)

    def settings(self, run: Run) -> dict[str, Any]:
        """All that a run depends on but the versions of the software: what its hash is of."""
        start = self.start(run.start)
        arm = None if run.arm == START else self.arm(run.arm)
        return {
            **self.start_settings(start),
            "arm": arm and [hashed(arm), hashed(self.recipe(start, arm, run.rate)), run.seed],
            "measured": [self.test_instances, self.samples, self.known, self.exact, run.tuning],
        }

    def start_settings(self, start: Start) -> dict[str, Any]:
        """All that a start depends on but the versions of the software."""
        return {
            "task": [self.task, self.task_options, self.model_options],
            "base": [hashed(self.base), start.seed],
            "start": [hashed(start), hashed(self.start_recipe(start))],
        }

    def extends(self, old: Study) -> bool:
        """Whether it is the other one with further starts, arms, comparisons and tuned rates."""
        grown = {name: getattr(self, name) for name in ("about", "starts", "arms", "compared")}
        if self.tuning and old.tuning and {*self.tuning.grid} >= {*old.tuning.grid}:
            grown["tuning"] = replace(old.tuning, grid=self.tuning.grid)
        more = {*map(repr, (*self.starts, *self.arms))}
        return replace(old, **grown) == self and more >= {*map(repr, (*old.starts, *old.arms))}

    def base_seeds(self) -> list[int]:
        """Of all bases."""
        return sorted({start.seed for start in (*self.starts, *self.tuning_starts())})

    def populations(self) -> list[str]:
        """In the order of the starts."""
        return list(dict.fromkeys(start.of() for start in self.starts))

    def runs_of(self, population: str, arm: str) -> list[Run]:
        """The runs that share a row."""
        runs = []
        for start in self.starts:
            if start.of() == population:
                seeds = self.seeds or (start.seed,)
                # the start itself is the same for every seed
                seeds = seeds[:1] if arm == START else seeds
                runs += [Run(start.name, arm, seed) for seed in seeds]
        return runs

    def runs(self) -> list[Run]:
        """All, seed by seed, so that an interrupted study has whole comparisons; the slow arms
        first, so that no core is idle at the end."""
        slow_first = sorted(self.arms, key=lambda arm: arm.options.get("balance") != "ngdiff")
        populations = self.populations()
        runs = [run for p in populations for a in slow_first for run in self.runs_of(p, a.name)]
        starts = [run for p in populations for run in self.runs_of(p, START)]
        return [*(starts if self.measure_starts else []), *sorted(runs, key=lambda run: run.seed)]

    def label(self, run: Run) -> str:
        """What tells it from the other runs of its row."""
        if not self.seeds:
            return run.start
        population = self.start(run.start).of()
        alone = sum(start.of() == population for start in self.starts) == 1
        return str(run.seed) if alone else f"{run.start}, seed {run.seed}"

    def save(self, path: Path) -> None:
        """Write JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> Study:
        """Read what ``save`` wrote."""
        try:
            fields = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} cannot be read ({error}); choose another --name") from error

        try:
            return cls(
                **fields
                | {
                    "starts": tuple(map(_start, fields["starts"])),
                    "arms": tuple(Arm(**values) for values in fields["arms"]),
                    "base": _sft(fields["base"]),
                    "sft": _sft(fields["sft"]),
                    "grpo": _of(GRPO, fields["grpo"]),
                    "seeds": tuple(fields["seeds"]),
                    "compared": tuple((one, minus) for one, minus in fields["compared"]),
                    "tuning": _of(Tuning, fields["tuning"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} was written by another version ({error}); choose another --name"
            ) from error


def _of(kind: Any, values: dict[str, Any] | None) -> Any:
    """Lists as tuples; None for none."""
    if values is None:
        return None
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


def _sft(values: dict[str, Any]) -> SFT:
    return SFT(**values | {"stop": _of(Stop, values["stop"])})


def _start(values: dict[str, Any]) -> Start:
    arm = Arm(**values["arm"]) if values["arm"] else None
    return Start(**values | {"arm": arm, "stop": _of(Stop, values["stop"])})


def folder(name: str) -> str:
    """A name as that of a directory: letters, digits, dots and dashes; ValueError for none."""
    found = re.sub(r"[^\w.-]+", "_", name).strip("._")
    if not found:
        raise ValueError(f"{name!r} cannot be the name of a directory")
    return found
