"""The figures of a run's line by name: which are accuracies, and what they are called in tables."""

from __future__ import annotations

import re
from collections.abc import Iterable

ACCURACIES = {  # shares of pictures, shown in percent
    "a": "a",
    "greedy_a": "greedy a",
    "a_p": "a_p",
    "exact_p": "exact a_p",
    "greedy_a_p": "greedy a_p",
    "a_r": "a_r",
    "greedy_a_r": "greedy a_r",
    "unreadable": "unreadable",
}
ROLES = {  # the four of a picture or a headline, with what they are of, in this order
    "exact_p": "perception (exact a_p)",
    "a_r": "reasoning (a_r)",
    "a": "end to end, sampled (a)",
    "greedy_a": "end to end, greedy",
}
OTHERS = {  # shown as they are; .1 to .3: thirds of the training
    "r_pooled_reasoning": "r(a, own reasoning)",
    "r_pooled_perception": "r(a, a_p)",
    "r_within_reasoning": "within-group r(a, own reasoning)",
    "r_within_perception": "within-group r(a, a_p)",
    "token_share_p.1": "share of the tokens",
    "loss_share_p.1": "share of the loss, first third",
    "loss_share_p.2": "share of the loss, second third",
    "loss_share_p.3": "share of the loss, last third",
    "lambda.1": "lambda, first third",
    "lambda.3": "lambda, last third",
    "signal_outcome.start": "r of the outcome",
    "silent_groups.1": "silent groups, first third",
    "mostly_wrong.1": "mostly wrong groups, first third",
    "entropy.1": "entropy, first third",
    "entropy.3": "entropy, last third",
}
TOKEN_SHARE = "token_share_p.1"
AFTER = re.compile(r"exact_p_after\.(\d+)")
SERIES = re.compile(r"[a-z_0-9]+\.([123]|start)")
CORRELATION = re.compile(r"r_[a-z_]+")


def is_accuracy(name: str) -> bool:
    """Whether it is a share of pictures."""
    return name in ACCURACIES or AFTER.fullmatch(name) is not None


def is_figure(name: str) -> bool:
    """Whether a line can have it."""
    return is_accuracy(name) or bool(SERIES.fullmatch(name) or CORRELATION.fullmatch(name))


def accuracies(names: Iterable[str]) -> dict[str, str]:
    """Of these, the accuracies with their titles, in the order of a table; sampled a_p only without
    exact a_p, of which it is an estimate with noise."""
    there = set(names)
    if "exact_p" in there:
        there.discard("a_p")
    found = {name: title for name, title in ACCURACIES.items() if name in there}
    updates = sorted(int(match[1]) for name in there if (match := AFTER.fullmatch(name)))
    return found | {f"exact_p_after.{n}": f"exact a_p after {n} updates" for n in updates}


def others(names: Iterable[str]) -> dict[str, str]:
    """Of these, the other figures that a table shows."""
    there = set(names)
    return {name: title for name, title in OTHERS.items() if name in there}


def is_of_a_third(name: str) -> bool:
    """Whether a table shows it as that of a third of the training."""
    return OTHERS.get(name, "").endswith("third")
