"""A study's results, one line of JSON for each run, so that it grows over days and machines.

Kinds: ``run``; ``tuning``, a run that tunes a learning rate; ``choice``, the rate of an arm;
``repeat``, a run that was made again to see whether its figures are equal bit for bit; ``start``,
what a training with a stop rule came to.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from percbal.evaluate.names import METRICS
from percbal.study.files import require
from percbal.study.plan import Run, Study, Tuning
from percbal.study.recipes import NO_START

Line = dict[str, Any]
REPEATED = 20  # one run in so many is made twice
KEY = ("study", "start", "arm", "seed", "rate")
OF_A_RUN = (*KEY, "plan", "registered", "status", "figures", "weights", "seconds")
KINDS = {  # kind -> what each of its lines has
    "run": OF_A_RUN,
    "tuning": OF_A_RUN,
    "choice": ("study", "arm", "rate", "by", "grid", "seeds", "means", "registered"),
    "repeat": (*OF_A_RUN, "equal"),
    "start": ("study", "start", "seed", "registered", "status", "figures", "weights"),
}


def read_lines(path: Path) -> list[Line]:
    """All lines; none where there is no file. ValueError names a damaged one.

    What a crash left of the last line is none.
    """
    if not path.exists():
        return []
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return _read(path, *_parts(file.read()))


def _read(path: Path, whole: bytes, rest: bytes) -> list[Line]:
    found = []
    for number, text in enumerate((whole + rest).splitlines(), 1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise ValueError(f"{path}:{number} is no JSON: {problem}") from None
        if not isinstance(line, dict) or line.get("kind") not in [*KINDS]:
            raise ValueError(f"{path}:{number} is no line of a study: {text[:40].decode()!r}")
        require(line, KINDS[line["kind"]], f"{path}:{number}: the line of kind {line['kind']}")
        found.append(line)
    return found


def append_line(
    path: Path, line: Line, unless: Callable[[list[Line]], bool] = lambda lines: False
) -> None:
    """Whole or not at all, whoever else appends; what a crash left of a line is taken away.

    unless: of the lines that are there; where it is true none is added.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        whole, rest = _parts(file.read())
        if unless(_read(path, whole, rest)):
            return
        file.truncate(len(whole) + len(rest))
        file.write((b"\n" if rest else b"") + json.dumps(line, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _parts(content: bytes) -> tuple[bytes, bytes]:
    """Up to the last end of a line; and what is after it, where that is JSON."""
    end = content.rfind(b"\n") + 1
    try:
        json.loads(content[end:])
    except (ValueError, RecursionError):
        return content[:end], b""
    return content[:end], content[end:]


def results(lines: Sequence[Line]) -> list[Line]:
    """The runs, each once.

    ValueError where one was made with two plans or has two lines with other figures, and where a
    start has failed for one run and not for another: nothing here chooses between them.
    """
    found: dict[tuple[Any, ...], Line] = {}
    for line in lines:
        if line["kind"] == "run":
            name = tuple(line[part] for part in ("study", "start", "arm", "seed"))
            first = found.setdefault(name, line)
            if first["plan"] != line["plan"]:
                raise ValueError(
                    f"{name_of(line)} has lines of two plans, {first['plan']} and "
                    f"{line['plan']}: take those of the settings that no longer stand away"
                )
            if first["figures"] != line["figures"]:
                raise ValueError(
                    f"{name_of(line)} has two lines with other figures: a run counts once"
                )
    _refuse_half_failed(list(found.values()))
    return list(found.values())


def _refuse_half_failed(runs: Sequence[Line]) -> None:
    failed: dict[tuple[str, str], bool] = {}
    for line in runs:
        none = line["status"].startswith(NO_START)
        if failed.setdefault((line["study"], line["start"]), none) != none:
            raise ValueError(
                f"{line['study']}: {line['start']} has failed for one run and not for another, so "
                "it was made twice: a start counts once"
            )


def key(study: Study, run: Run) -> Line:
    """What names a run in its line."""
    return {
        "study": study.name,
        "start": run.start,
        "arm": run.arm,
        "seed": run.seed,
        "rate": run.rate,
    }


def name_of(line: Line) -> str:
    """For people, and for what is chosen by chance."""
    return " / ".join(str(line[part]) for part in KEY)


def is_repeated(line: Line) -> bool:
    """Whether the run is one of those that are made twice: by the hash of its name alone."""
    draw = hashlib.sha256(name_of(line).encode()).digest()
    return int.from_bytes(draw[:8], "big") % REPEATED == 0


def figures(evaluation: dict[str, Any]) -> dict[str, float]:
    """The numbers of a run's evaluation, those that exist; {} where nothing was trained.

    a, a_p, a_r: over samples where there are any, else greedy; exact_p: mean exact probability of
    the true perception, and ``exact_p_after.N`` the same after N updates; the rest as
    ``percbal.study.run`` keeps it, ``name.1`` to ``name.3`` being means over the thirds of the
    steps, and ``signal_REWARD.start`` over the warm-up of a reinforcement.
    """
    if "right" not in evaluation:
        return {}
    found: dict[str, float] = {}
    kinds = evaluation["right"].values()
    samples = evaluation["samples"]
    for metric in METRICS:
        greedy = "".join(kind["greedy"][metric] for kind in kinds)
        found[f"greedy_{metric}"] = _mean(greedy, 1)
        found[metric] = found[f"greedy_{metric}"]
        if samples:
            found[metric] = _mean("".join(k["sampled"][metric] for k in kinds), samples)
    if evaluation["exact_p"]:
        found["exact_p"] = float(np.mean(evaluation["exact_p"]))
    n = sum(len(kind["greedy"]["a"]) for kind in kinds)
    found["unreadable"] = evaluation["unreadable"] / n
    found |= {f"r_{name}": value for name, value in evaluation["coupling"].items()}
    for name, series in (evaluation["logged"] | _prefixed(evaluation["signal"])).items():
        found |= {f"{name}.{i}": mean for i, mean in enumerate(series, 1) if mean is not None}
    for name, (mean,) in _prefixed(evaluation.get("signal_at_start", {})).items():
        found[f"{name}.start"] = mean
    watched = evaluation.get("watched", {})
    found |= {f"exact_p_after.{update}": value for update, value in watched.items()}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _mean(digits: str, of: int) -> float:
    return sum(map(int, digits)) / (of * len(digits))


def _prefixed(signal: dict[str, list[float]]) -> dict[str, list[float]]:
    return {f"signal_{name}": series for name, series in signal.items()}


def chosen_rates(lines: Sequence[Line], tuning: Tuning) -> dict[str, float]:
    """Arm -> the rate that a tuning chose; what another grid or other bases chose is none.

    ValueError where two lines chose different ones: nothing here chooses between them.
    """
    wanted = (tuning.study, tuning.by, list(tuning.grid), list(tuning.seeds))
    found: dict[str, float] = {}
    for line in lines:
        named = line["kind"] == "choice" and ("study", "by", "grid", "seeds")
        if named and tuple(line[name] for name in named) == wanted:
            if found.setdefault(line["arm"], line["rate"]) != line["rate"]:
                raise ValueError(
                    f"the tuning of {tuning.study} chose {found[line['arm']]:g} and "
                    f"{line['rate']:g} for {line['arm']}: take the line of one of them away"
                )
    return found


def best_rate(lines: Sequence[Line], by: str) -> tuple[float, dict[str, float]]:
    """The rate with the best mean of a figure over an arm's tuning lines, and all the means.

    A run without a start counts in no mean: it has none at any rate. Of equal ones the smallest.
    """
    values: dict[float, list[float]] = {}
    for line in lines:
        if line["figures"]:
            values.setdefault(line["rate"], []).append(line["figures"][by])
    if not values:
        raise ValueError("no start of the tuning was competent, so no rate can be chosen")
    means = {rate: float(np.mean(found)) for rate, found in sorted(values.items())}
    return max(means, key=lambda rate: means[rate]), {str(r): m for r, m in means.items()}
