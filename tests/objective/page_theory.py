"""Writes the tables of docs/theory.md: what the formulas say, and what they say of every start
that docs/results has measured. `python tests/objective/page_theory.py`
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import population

from percbal.evaluate.intervals import Interval, t_interval, wilson_interval
from percbal.objective import criterion
from percbal.objective.advice import advise, expected_speed
from percbal.objective.credit import by_segment
from percbal.objective.measured import Measured
from percbal.report.marked import marked, write_marked
from percbal.study.plan import START, Arm
from percbal.study.presets import PRESETS
from percbal.study.results import Results, excludes_zero

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "theory.md"
OUTCOME = "outcome"
ALPHAS = (0.01, 0.1, 0.25, 0.5, 0.75)


class Pair(NamedTuple):
    """An arm against the outcome arm of its start."""

    start: str
    arm: Arm
    margin: float  # w - r^2 of the start
    speed: float  # predicted
    gain: float  # of a by the outcome arm
    seen: Interval  # of a beside it, t over runs

    @property
    def hit(self) -> bool:
        return (self.speed > 1) == (self.seen.value > 0)


def grid() -> str:
    """What the formulas say of some p and q, and the same by every group of 8 that can be."""
    lines = [
        "| a_p | a_r | r | w | w - r^2 | break-even | all tokens | of groups of 8 | "
        "perception tokens | of groups of 8 | dense |",
        "|---" * 11 + "|",
    ]
    for p in (0.05, 0.3, 0.5, 0.7, 0.9):
        for q in (0.1, 0.5, 0.9):
            r, w = criterion.chain_correlation(p, q), share(p, q)
            x, best = criterion.best_mix(w, r)
            alpha = criterion.alpha_of(x, spread(p), spread(p * q))
            groups = population.every_group(p, q, 8)
            base = population.growth(groups, p, q, "scalar", 0.0)
            small = max(population.growth(groups, p, q, "scalar", a) / base for a in ALPHAS)
            alone = population.growth(groups, p, q, "segment", 1.0) / base
            segment = criterion.segment_speed(w, r, math.inf)
            cells = [f"{v:.2f}" for v in (p, q, r, w)]
            turns = criterion.break_even(p * q * (1 - p), p * q * (1 - q), r)
            cells += [f"{w - r * r:+.2f}", f"{turns:.2f}"]
            cells += [f"{best:.2f} at {alpha:.2f}", f"{small:.2f}", f"{segment:.2f}"]
            cells += [f"{alone:.2f}", f"{criterion.dense_factor(p):.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def starts() -> str:
    """Every start with an outcome arm, every arm that the theory speaks of, and its hit rate."""
    head = [
        "| start | a | a_p | a_r | lucky | r | r by (P2) | w | w in the outcome arm | w - r^2 | "
        "break-even | advice |",
        "|---" * 12 + "|",
    ]
    table = [
        "| start | arm | predicted speed | predicted of a | measured of a | sign |",
        "|---" * 6 + "|",
    ]
    pairs: list[Pair] = []
    silent = []
    for results in committed():
        for start in measured_starts(results):
            head.append(start_row(results, start))
            here, others = pairs_of(results, start)
            pairs += here
            silent.append(f'"{start}": {", ".join(others)}')
            table += [pair_row(pair) for pair in here]
    return "\n".join([*head, "", *table, "", *tally(pairs, silent)]) + "\n"


def tally(pairs: list[Pair], silent: list[str]) -> list[str]:
    """How often a predicted sign is the measured one."""
    scalar = [pair for pair in pairs if pair.arm.options["credit"] == "scalar"]
    by_start = {pair.start: pair for pair in sorted(scalar, key=lambda p: -distance(p))}
    small = {pair.start: pair for pair in sorted(scalar, key=lambda p: -p.arm.options["alpha"])}
    margins = [(pair.margin > 0) == (pair.seen.value > 0) for pair in small.values()]
    seen = [pair for pair in pairs if excludes_zero(pair.seen)]
    return [
        f"- Signs, of {len(pairs)} arms from {len(by_start)} starts: {rate(pairs)}. The arms of a "
        "start share their start and their outcome arm, so this interval is too narrow.",
        f"- By start, of the arm `scalar` nearest alpha 0.5: {rate(list(by_start.values()))}.",
        f"- By start, of `w - r^2` against the smallest alpha: {agree(margins)}.",
        f"- Of the {len(seen)} measured differences whose t interval is without 0: "
        f"{rate(seen) if seen else 'none'}.",
        "- No prediction, since there is no perception reward, alpha changes, the reward is not "
        "the truth, or losses are averaged by segment, whose shares of the tokens were not kept: "
        f"{'; '.join(silent)}.",
    ]


def rate(pairs: list[Pair]) -> str:
    return agree([pair.hit for pair in pairs])


def agree(hits: list[bool]) -> str:
    low, high = wilson_interval(sum(hits), len(hits))[1:]
    return f"{sum(hits)} of {len(hits)} right, 95% interval {low:.0%} to {high:.0%}"


def distance(pair: Pair) -> float:
    return abs(pair.arm.options["alpha"] - 0.5)


def committed() -> list[Results]:
    """Every study in docs/results, in the order of its file."""
    paths = sorted((DOCS / "results").glob("*.json"))
    found = [path for path in paths if is_study(json.loads(path.read_text()))]
    return [Results.load(path) for path in found]


def is_study(content: object) -> bool:
    return isinstance(content, dict) and content.keys() >= {"study", "rows", "differences"}


def measured_starts(results: Results) -> list[str]:
    """With an outcome arm to compare others with, and a correlation."""
    arms = {(row.start, row.arm) for row in results.rows}
    both = [s for s in results.starts() if {(s, START), (s, OUTCOME)} <= arms]
    return [s for s in both if math.isfinite(measured(results, s).r)]


def measured(results: Results, start: str) -> Measured:
    row = results.row(start, START)
    a, a_p, a_r = (row.figures[name].value for name in ("a", "a_p", "a_r"))
    within, pooled = (
        row.coupling.get(f"{kind}_perception", math.nan) for kind in ("within", "pooled")
    )
    both = a * a_p + pooled * spread(a) * spread(a_p)  # answer and perception right
    return Measured(a, a_p, both / a_p, within, wrong_success=1 - both / a, a_r=a_r)


def start_row(results: Results, start: str) -> str:
    found = measured(results, start)
    advice = advise(found)
    p, q = found.a_p, found.q
    moved = results.row(start, OUTCOME).figures
    seen, reasoned = q * moved["a_p"].value, p * moved["a_r"].value
    cells = [start, *(f"{100 * x:.1f}" for x in (found.a, p, q, found.wrong_success))]
    cells += [f"{found.r:.2f}", f"{criterion.chain_correlation(p, q):.2f}", f"{advice.share:.2f}"]
    cells += [f"{seen / (seen + reasoned):.2f}", f"{advice.margin:+.2f}"]
    cells += [f"{advice.break_even:.2f}", f"`{advice.verdict}`"]
    return f"| {' | '.join(cells)} |"


def pairs_of(results: Results, start: str) -> tuple[list[Pair], list[str]]:
    """And the names of the GRPO arms that the theory does not speak of."""
    study, found = PRESETS[results.study], measured(results, start)
    gain = results.row(start, OUTCOME).figures["a"].value
    margin = advise(found).margin
    assert margin is not None
    pairs, others = [], []
    for row in results.rows:
        if row.start != start or row.arm in (START, OUTCOME):
            continue
        arm = study.arm(row.arm)
        if arm.kind != "grpo":
            continue
        options = arm.options
        plain = options.keys() == {"credit", "alpha"} and not by_segment(options["credit"])
        if not plain or not options["alpha"] or arm.oracle:  # segments: how many tokens each?
            others.append(f"`{arm.name}`")
            continue
        seen = t_interval(results.by_run(start, arm.name, OUTCOME, "a"))
        speed = expected_speed(found, options["credit"], options["alpha"])
        assert speed is not None
        pairs.append(Pair(start, arm, margin, speed, gain, seen))
    return pairs, others


def pair_row(pair: Pair) -> str:
    mark = "†" if excludes_zero(pair.seen) else ""
    half = 100 * (pair.seen.high - pair.seen.value)
    cells = [pair.start, pair.arm.name, f"{pair.speed:.2f}"]
    cells += [f"{100 * pair.gain * (pair.speed - 1):+.1f}"]
    cells += [f"{100 * pair.seen.value:+.1f} ±{half:.1f}{mark}", "right" if pair.hit else "wrong"]
    return f"| {' | '.join(cells)} |"


def share(p: float, q: float) -> float:
    return criterion.share_of(p * q * (1 - p), p * q * (1 - q))


def spread(p: float) -> float:
    return math.sqrt(p * (1 - p))


TABLES = {"grid": grid, "starts": starts}


def shown(name: str) -> str:
    """A table as the page has it."""
    return marked(PAGE, name)


if __name__ == "__main__":
    for name, table in TABLES.items():
        write_marked(PAGE, name, table())
