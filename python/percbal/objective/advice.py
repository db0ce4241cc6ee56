"""A practitioner's rule: what measured rewards say about adding a perception reward.

From accuracies and the within-group correlation of outcome and perception: whether a perception
reward can be expected to help, on which tokens, dense or exact, and when agreement is likely to
harm, each with its reason in a sentence. It is the theory of docs/theory.md and no more: that page
has its limits, and how often it was right.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from percbal.objective import criterion
from percbal.objective.credit import by_segment
from percbal.objective.criterion import Reward
from percbal.objective.measured import Measured

ALL_TOKENS, PERCEPTION_TOKENS = "all_tokens", "perception_tokens"
LITTLE, CONFLICT, UNKNOWN = "little", "conflict", "unknown"
SMALL = 0.05  # of the speed: less is not worth a reward, and hardly to be seen
DENSE_FROM = 1.2  # times the exact reward's signal
MAJORITY = 0.5  # of the groups, from which mostly wrong ones are warned of


@dataclass(frozen=True)
class Advice:
    """See docs/coupling.md. Numbers are None where they are not known.

    verdict: all_tokens (it helps whatever tokens are credited with it), perception_tokens (only if
        those alone are), little, conflict (with the outcome), unknown.
    holds: whether the verdict is the same at both ends of r's interval.
    """

    verdict: str
    sentences: tuple[str, ...]
    holds: bool | None = None
    reasoning: float | None = None  # q: a_r, or the answers after a right perception
    reasoning_from: str | None = None  # "a_r" or "after_right"
    share: float | None = None  # w
    margin: float | None = None  # w - r^2
    break_even: float | None = None  # how readily perception must learn, relative to reasoning
    best_alpha: float | None = None  # of a mixture on all tokens
    best_speed: float | None = None  # of it, with the outcome alone as 1
    segment_speed: float | None = None  # of true perception alone on the perception tokens
    silent_gain: float | None = None  # what this gains beside, where the outcome is silent
    silent_gain_mixed: float | None = None  # what a mixture on all tokens does
    dense_factor: float | None = None
    mostly_wrong: float | None = None
    agreement: str | None = None  # the sentence that warns of it

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"sentences": list(self.sentences)}


def advise(found: Measured) -> Advice:
    """The rule. Every speed is the theory's, of ``a`` at the next update; none was measured."""
    bare = Advice(
        UNKNOWN,
        (),
        dense_factor=criterion.dense_factor(found.a_p) if 0 < found.a_p < 1 else None,
        mostly_wrong=_finite(found.mostly_wrong),
        agreement=_agreement(found),
    )
    warned = () if bare.agreement is None else (bare.agreement,)
    if (why := _unknown(found)) is not None:
        return replace(bare, sentences=(why, *warned))
    if found.r <= 0:
        why = (
            f"Right answers go with wrong perceptions (within-group r {found.r:.2f}): a perception "
            "reward and the outcome pull apart, so look first at how such answers come about."
        )
        return replace(bare, verdict=CONFLICT, sentences=(why, *warned))
    w = _share(found)
    x, speed = criterion.best_mix(w, found.r)
    advice = replace(
        bare,
        verdict=_verdict(found, found.r),
        holds=_holds(found),
        reasoning=found.q,
        reasoning_from="after_right" if found.a_r is None else "a_r",
        share=w,
        margin=w - found.r**2,
        break_even=_finite(criterion.break_even(found.a, found.a_p, found.q, found.r)),
        best_alpha=criterion.alpha_of(x, _spread(found.a_p), _spread(found.a)),
        best_speed=speed,
        segment_speed=criterion.segment_speed(w, found.r, math.inf),
        silent_gain=_beside(found, found.r, whole=False),
        silent_gain_mixed=_beside(found, found.r, whole=True),
    )
    said = (*_headline(found, advice), _form(found.a_p), *warned, _assumed(advice))
    return replace(advice, sentences=said)


def expected_speed(found: Measured, credit: str, alpha: float) -> float | None:
    """Of true perception mixed in by ``alpha``, with the outcome alone as 1; None if not known.

    credit: as ``BalancedGRPOConfig.credit``; ``same_perception`` counts as ``segment``: the theory
    has no part for its baseline.
    """
    if _unknown(found) is not None or found.r <= 0:
        return None
    if alpha == 0:
        return 1.0
    spreads = (1.0, 1.0) if credit == "normalized" else (_spread(found.a_p), _spread(found.a))
    whole = not by_segment(credit)
    speed = criterion.mixed_speed if whole else criterion.segment_speed
    w = _share(found)
    beside = _beside(found, found.r, whole=whole) or 0.0
    return speed(w, found.r, criterion.weight_ratio(alpha, *spreads)) + beside


def advise_reward(found: Measured, name: str, reward: Reward, high: float = math.nan) -> str:
    """A sentence about another perception reward, such as one without labels.

    high: the upper end of the interval of its correlation with true perception.
    """
    seen = f"{name} (r {reward.truth:.2f} with perception, {reward.outcome:.2f} with the outcome)"
    if any(map(math.isnan, reward)) or _unknown(found) is not None or found.r <= 0:
        return f"{seen}: nothing can be said."
    if high < 0:
        return f"{seen} pays for wrong perceptions: it would harm."
    w = _share(found)
    alone = criterion.best_segment(w, found.r, reward)
    if alone - 1 < SMALL:
        return f"{seen} says hardly anything about perception that the outcome does not."
    mixed = criterion.best_mix(w, found.r, reward)[1]
    whole = f"{mixed:.2f} on all" if mixed - 1 >= SMALL else "next to nothing on all"
    return f"{seen} can help: {alone:.2f} times the speed on perception tokens alone, {whole}."


def _share(found: Measured) -> float:
    return criterion.perception_share(found.a, found.a_p, found.q, found.r)


def _unknown(found: Measured) -> str | None:
    """Why nothing can be said."""
    if math.isnan(found.a_p):
        return "No rollout has both rewards, so nothing can be said about a perception reward."
    if found.a_p == 0:
        return "No perception here is right: an exact perception reward is silent, a dense one not."
    if found.a_p == 1:
        return "Every perception here is right: a perception reward has nothing to add."
    if found.a in (0, 1):
        how = "every" if found.a == 1 else "no"
        return (
            f"Here {how} answer is right: the outcome is silent, and a perception reward would be "
            "the only signal."
        )
    if math.isnan(found.after_right):
        return "Outcome and perception must be exact, 0 or 1: graded ones have no accuracy."
    if math.isnan(found.r):
        return "Within groups outcome or perception never differs: sample more of each prompt."
    return None


def _verdict(found: Measured, r: float) -> str:
    if r <= 0:
        return CONFLICT
    w = criterion.perception_share(found.a, found.a_p, found.q, r)
    if (_beside(found, r, whole=True) or 0.0) + criterion.best_mix(w, r)[1] - 1 >= SMALL:
        return ALL_TOKENS
    speed = criterion.segment_speed(w, r, math.inf) + (_beside(found, r, whole=False) or 0.0)
    return PERCEPTION_TOKENS if speed - 1 >= SMALL else LITTLE


def _beside(found: Measured, r: float, *, whole: bool) -> float | None:
    """(P10), on all tokens or on the perception tokens alone; None if it is not known."""
    w = criterion.perception_share(found.a, found.a_p, found.q, r)
    if whole:
        rates = found.a, found.a_p, found.q
        return _finite(criterion.silent_gain_mixed(w, r, found.silent, *rates))
    return _finite(criterion.silent_gain(w, r, found.silent))


def _holds(found: Measured) -> bool | None:
    if math.isnan(found.r_low) or math.isnan(found.r_high):
        return None
    ends = {_verdict(found, r) for r in (found.r_low, found.r_high)}
    return ends == {_verdict(found, found.r)}


def _headline(found: Measured, advice: Advice) -> list[str]:
    assert advice.share is not None and advice.segment_speed is not None
    assert advice.best_speed is not None and advice.best_alpha is not None
    compared = f"w {advice.share:.2f}, r^2 {found.r**2:.2f}"
    most = f"{advice.segment_speed:.2f} times the outcome's speed"
    beside = advice.silent_gain or 0.0
    if advice.verdict == LITTLE:
        said = [
            "A perception reward can add little: the outcome says most of it already "
            f"({compared}), and on the perception tokens alone it reaches {most}."
        ]
    elif advice.verdict == PERCEPTION_TOKENS:
        said = [
            "A perception reward can help on the perception tokens alone (credit segment or "
            f"same_perception), up to {most}: on all tokens it costs reasoning about as much as it "
            f"gives perception, or more ({compared})."
        ]
    elif advice.best_speed - 1 < SMALL:
        said = [
            f"A perception reward can help: on the perception tokens alone up to {most}, on all "
            f"tokens by a small alpha at most, where the outcome is silent ({compared})."
        ]
    else:
        said = [
            f"A perception reward can help: on the perception tokens alone up to {most}, on all "
            f"tokens {advice.best_speed:.2f} at alpha {advice.best_alpha:.2f} ({compared})."
        ]
    if beside >= SMALL:
        said.append(
            f"In {found.silent:.0%} of the groups the outcomes are all equal and the perceptions "
            f"are not: there it is the only signal, which adds about {beside:.2f} on the "
            f"perception tokens alone, {advice.silent_gain_mixed or 0.0:.2f} on all."
        )
    if advice.holds is False:
        said.append(
            f"This is not sure: r is between {found.r_low:.2f} and {found.r_high:.2f}, and more "
            "groups would tell."
        )
    return said


def _form(a_p: float) -> str:
    factor = criterion.dense_factor(a_p)
    if factor >= DENSE_FROM:
        return (
            f"Prefer a dense reward to an exact one: at a_p {a_p:.2f} it has up to {factor:.1f} "
            "times the signal, since it also tells wrong perceptions apart."
        )
    return (
        f"An exact reward is enough: at a_p {a_p:.2f} a dense one has at most {factor:.1f} times "
        "its signal."
    )


def _agreement(found: Measured) -> str | None:
    if not found.mostly_wrong >= MAJORITY:
        return None
    return (
        f"Agreement is likely to harm: in {found.mostly_wrong:.0%} of the groups most rollouts "
        "perceive wrongly, and an error that they share is then paid more than the truth."
    )


def _assumed(advice: Advice) -> str:
    known = f"a_r is {advice.reasoning:.2f}"
    if advice.reasoning_from == "after_right":
        known = (
            "a_r was not measured, and the share of right answers after right perceptions, "
            f"{advice.reasoning:.2f}, stands for it"
        )
    turns = "no small alpha helps on all tokens"
    if advice.break_even is not None:
        turns = f"a small alpha helps on all tokens from {advice.break_even:.2f} times as readily"
    return (
        f"Assumed: {known}; perception learns as readily as reasoning ({turns}); the next update, "
        "not the end."
    )


def _spread(p: float) -> float:
    return math.sqrt(p * (1 - p))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
