"""What was run for a registered study: how many runs of every arm, repeats, machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from percbal.report.evidence_contrasts import as_row, as_rule
from percbal.study.lines import Line, is_repeated, name_of, results
from percbal.study.machine import kind_of
from percbal.study.recipes import DIVERGED, FLOOR, NO_START
from percbal.study.registration import Registration


def runs_made(registration: Registration, lines: Sequence[Line], repeated: int) -> str:
    """Runs that are there, of those planned, and what became of them.

    repeated: one run in so many is made twice.
    """
    head = [
        "study",
        "arm",
        "runs",
        "no start",
        "diverged",
        "below the floor",
        "seconds of training",
    ]
    rows = [as_row(*head), as_rule(head)]
    for study, plan in registration.planned.items():
        for arm in plan["arms"]:
            own = [x for x in results(lines) if (x["study"], x["arm"]) == (study, arm)]
            ends = Counter(line["status"].split(":")[0] for line in own)
            times = [x["seconds"]["train"] for x in own if "train" in x["seconds"]]
            seconds = f"{sum(times) / len(times):.0f}" if times else ""
            counts = [str(ends[status]) for status in (NO_START, DIVERGED, FLOOR)]
            made = f"{len(own) - ends[NO_START]} of {plan['starts']}"
            rows.append(as_row(study, arm, made, *counts, seconds))
    return "\n".join(rows) + "\n\n" + " ".join([_repeats(lines, repeated), _machines(lines)])


def _repeats(lines: Sequence[Line], repeated: int) -> str:
    """How many runs were due to be made twice, and what came."""
    chosen = [x for x in results(lines) if x["figures"] and is_repeated(x)]
    due = {name_of(x): x for x in chosen if not x["machine"].get("also")}
    again: dict[str, list[Line]] = {}  # of a merge the same repeat can have several lines
    for line in lines:
        if line["kind"] == "repeat" and (first := due.get(name := name_of(line))):
            if line["plan"] == first["plan"]:
                again.setdefault(name, []).append(line)
    unequal = {
        name: other
        for name, own in again.items()
        if (other := [x for x in own if not x["equal"]["figures"]])
    }
    said = (
        f"One run in {repeated}, chosen by the hash of its name, is made twice on the same kind of "
        f"machine. Of the runs above {len(due)} are due, {len(again)} were made again, and "
        f"{len(again) - len(unequal)} had all figures equal bit for bit"
    )
    equal = [name for name in again if name not in unequal]
    newer = sum("sources" in _other_versions(due[name], again[name]) for name in equal)
    said += f", {newer} of these by other code of percbal than the first time." if newer else "."
    if mixed := len(chosen) - len(due):
        said += f" Not due, since several kinds of machines trained them: {mixed}."
    if unequal:
        why = (f"{name} ({_apart(due[name], other)})" for name, other in unequal.items())
        said += f" Unequal: {'; '.join(why)}."
    return said


def _apart(first: Line, again: Sequence[Line]) -> str:
    """What else than its figures differs of a run that was made again."""
    weights = "the same" if all(x["equal"]["weights"] for x in again) else "other"
    other = _other_versions(first, again)
    versions = f"other versions of {', '.join(other)}" if other else "the same versions"
    return f"{weights} weights, {versions}"


def _other_versions(first: Line, again: Sequence[Line]) -> list[str]:
    """Names of what had another version when it was made again."""
    then, now = first["versions"], [x["versions"] for x in again]
    names = sorted(set(then).union(*now))
    return [name for name in names if any(x.get(name) != then.get(name) for x in now)]


def _machines(lines: Sequence[Line]) -> str:
    """Where the runs were made, and how many starts have runs of several kinds."""
    found: dict[tuple[str, str], list[Line]] = {}
    runs = results(lines)
    for line in runs:
        found.setdefault((line["study"], line["start"]), []).append(line)
    if not runs:
        return "No run is there yet."
    kinds = {name: {_kind(k) for x in own for k in _kinds(x)} for name, own in found.items()}
    names = _named(set().union(*kinds.values()))
    torch = sorted({line["versions"]["torch"] for line in runs})
    several = sum(len(kind) > 1 for kind in kinds.values())
    weights = sum(len({x["weights"] for x in own}) > 1 for own in found.values())
    sources = sum(len({x["versions"].get("sources") for x in own}) > 1 for own in found.values())
    return (
        f"Machines: {'; '.join(names)}; torch {', '.join(torch)}. "
        f"Of {len(found)} starts {several} have runs of more than one kind of machine, {weights} "
        f"were made anew with other weights; for {sources} start{'' if sources == 1 else 's'}, "
        "percbal's own code changed between its runs."
    )


def _kinds(line: Line) -> list[list[object]]:
    """Of the machine that made a run, and of others that trained a part of it."""
    return [kind_of(line), *line["machine"].get("also", [])]


Kind = tuple[str, frozenset[str], object]  # processor, its vector instructions, threads of a run


def _kind(kind: Sequence[object]) -> Kind:
    processor, flags, threads, _ = kind
    return str(processor), frozenset(str(flags).split()), threads


def _named(kinds: Collection[Kind]) -> list[str]:
    """Each in words; those that read alike with the instructions that not all of them have."""
    alike: dict[str, list[frozenset[str]]] = {}
    for processor, flags, threads in kinds:
        wide = "AVX-512" if "avx512f" in flags else "no AVX-512"
        name = f"{processor}, {wide}, {threads} thread{'' if threads == 1 else 's'} a run"
        alike.setdefault(name, []).append(flags)
    said = []
    for name, own in alike.items():
        shared = frozenset.intersection(*own)
        for flags in own:
            more = " and ".join(sorted(flags - shared))
            said.append(name + (f" (with {more})" if more else ""))
    return sorted(said)
