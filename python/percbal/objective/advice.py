"""A practitioner's rule: what measured rewards say about adding a perception reward.

From accuracies and the within-group correlation of outcome and perception: whether a perception
reward can be expected to help, on which tokens, dense or exact, and when agreement can harm, each
with its reason in a sentence. It is the theory of docs/theory.md and no more: that page
has its limits, and how often it was right.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from percbal.objective import criterion
from percbal.objective.credit import by_segment
from percbal.objective.measured import AGREEMENT, FEWEST, Measured

ALL_TOKENS, PERCEPTION_TOKENS = "all_tokens", "perception_tokens"
LITTLE, CONFLICT, UNKNOWN = "little", "conflict", "unknown"
SMALL = 0.05  # of the speed: less is not worth a reward, and hardly to be seen
DENSE_FROM = 1.2  # times the exact reward's signal
MAJORITY = 0.5  # of the groups, from which mostly wrong ones are warned of
# Of the right answers, that follow a wrong perception. If such errors do not matter for the
# answer, an exact reward says less than the outcome from a share of 1 - a_r on: under a tenth only
# where a_r is over 0.9 (docs/theory.md, Limits).
LUCKY = 0.1
# A reward whose r is below this lost more by its noise than it taught, in the one study of it
# (docs/results.md, dose). (P15) says why, and that it depends on the learning rate.
NOISY = 0.3
SURE = 0.95  # confidence of the interval that r = 1 has
ROUNDING = 1e-9


@dataclass(frozen=True)
class Advice:
    """See docs/coupling.md. Numbers are None where they are not known.

    verdict: all_tokens (it helps whatever tokens are credited with it), perception_tokens (only if
        those alone are), little, conflict (with the outcome), unknown.
    holds: whether the verdict is the same at both ends of r's interval, of enough groups.
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
    wrong_success: float | None = None
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
        wrong_success=_finite(found.wrong_success),
        mostly_wrong=_finite(found.mostly_wrong),
        agreement=_agreement(found),
    )
    warned = () if bare.agreement is None else (bare.agreement,)
    if (why := unknown(found)) is not None:
        return replace(bare, sentences=(why, *warned))
    if found.r <= 0:
        said = (*_conflict(found), *warned)
        return replace(bare, verdict=CONFLICT, holds=_holds(found), sentences=said)
    w = share(found)
    s_a, s_p = found.spreads
    x, speed = criterion.best_mix(w, found.r)
    advice = replace(
        bare,
        verdict=_verdict(found),
        holds=_holds(found),
        reasoning=found.q,
        reasoning_from="after_right" if found.a_r is None else "a_r",
        share=w,
        margin=w - found.r**2,
        break_even=_finite(criterion.break_even(found.c_p, found.c_r, found.r)),
        best_alpha=criterion.alpha_of(x, s_p, s_a),
        best_speed=speed,
        segment_speed=criterion.segment_speed(w, found.r, math.inf),
        silent_gain=_beside(found, whole=False),
        silent_gain_mixed=_beside(found, whole=True),
    )
    said = (*_headline(found, advice), _form(found.a_p), *warned, _assumed(found, advice))
    return replace(advice, sentences=said)


def expected_speed(found: Measured, credit: str, alpha: float) -> float | None:
    """Of true perception mixed in by ``alpha``, with the outcome alone as 1; None if not known.

    credit: as ``BalancedGRPOConfig.credit``; ``same_perception`` counts as ``segment``: the theory
    has no part for its baseline.
    """
    if unknown(found) is not None or found.r <= 0:
        return None
    if alpha == 0:
        return 1.0
    s_a, s_p = (1.0, 1.0) if credit == "normalized" else found.spreads
    whole = not by_segment(credit)
    speed = criterion.mixed_speed if whole else criterion.segment_speed
    beside = _beside(found, whole=whole) or 0.0
    return speed(share(found), found.r, criterion.weight_ratio(alpha, s_p, s_a)) + beside


def share(found: Measured) -> float:
    """w of (P4), by the slopes within groups (P13)."""
    return criterion.share_of(found.c_p, found.c_r, found.plasticity)


def unknown(found: Measured) -> str | None:
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
    return _lucky(found) if found.r > 0 else None


def _lucky(found: Measured) -> str | None:
    if not found.wrong_success > LUCKY:
        return None
    return (
        f"{found.wrong_success:.0%} of the right answers follow a wrong perception, and the theory "
        "takes a right perception for what a right answer needs, so no gain is foretold: either "
        "what counts as wrong there does not matter for the answer, and an exact perception reward "
        "can pay for the wrong thing, or answers are guessed, as of multiple choice."
    )


def _verdict(found: Measured) -> str:
    if found.r <= 0:
        return CONFLICT
    w = share(found)
    if (_beside(found, whole=True) or 0.0) + criterion.best_mix(w, found.r)[1] - 1 >= SMALL:
        return ALL_TOKENS
    speed = criterion.segment_speed(w, found.r, math.inf) + (_beside(found, whole=False) or 0.0)
    return PERCEPTION_TOKENS if speed - 1 >= SMALL else LITTLE


def _beside(found: Measured, *, whole: bool) -> float | None:
    """(P10), on all tokens or on the perception tokens alone; None if it is not known."""
    w = share(found)
    if not whole:
        return _finite(criterion.silent_gain(w, found.r, found.silent))
    s_a, s_p = found.spreads
    paid = found.q * s_a * s_p / found.c_r if found.c_r > 0 else 0.0
    return _finite(criterion.silent_gain_mixed(w, found.r, found.silent, paid))


def _holds(found: Measured) -> bool | None:
    low, high = _interval(found)
    if math.isnan(low) or math.isnan(high):
        return None
    if not found.groups >= FEWEST:
        return False
    if found.r <= 0:
        return high < 0
    ends = {_verdict(replace(found, r=r)) for r in (low, high)}
    return ends == {_verdict(found)}


def _interval(found: Measured) -> tuple[float, float]:
    """Of r. Where no right perception has led to a wrong answer, r = 1, (C3) gives no width: what
    q can be if n groups did not show one, by (M18), and (P2) give the lower end."""
    if found.r < 1 - ROUNDING or not found.groups > 0:
        return found.r_low, found.r_high
    q = ((1 - SURE) / 2) ** (1 / found.groups)
    return criterion.chain_correlation(found.a_p, q), 1.0


def _conflict(found: Measured) -> list[str]:
    if _holds(found):
        return [
            f"Right answers go with wrong perceptions (within-group r {found.r:.2f}): a perception "
            "reward and the outcome pull apart, so look first at how such answers come about."
        ]
    said = [
        "Whether right answers go with right perceptions cannot be told: the within-group r is "
        f"{found.r:.2f}, not surely other than 0. {_more(found)}"
    ]
    return [*said, lucky] if (lucky := _lucky(found)) is not None else said


def _more(found: Measured) -> str:
    """Why a verdict does not hold."""
    low, high = _interval(found)
    if not found.groups >= FEWEST:
        few = "too few" if math.isnan(found.groups) else f"{found.groups:.0f}"
        return f"It rests on {few} groups in which rewards differ; at least {FEWEST} are needed."
    return f"r is between {low:.2f} and {high:.2f}, and more groups would tell."


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
        said.append(f"This is not sure. {_more(found)}")
    return said


def _form(a_p: float) -> str:
    factor = criterion.dense_factor(a_p)
    if factor >= DENSE_FROM:
        return (
            "A dense reward tells wrong perceptions apart, too: if the parts of a perception are "
            "independent and about equally hard, it has up to "
            f"{factor:.1f} times the exact one's signal at a_p {a_p:.2f}. On grids, the one case "
            "that was measured, it taught no more than the exact one (docs/results.md)."
        )
    return (
        f"An exact reward is enough: at a_p {a_p:.2f} a dense one has at most {factor:.1f} times "
        "its signal."
    )


def _agreement(found: Measured) -> str | None:
    seen = found.agreement
    if seen is None or math.isnan(seen.r) or not found.mostly_wrong >= MAJORITY:
        return None
    if seen.relied_on and seen.low > NOISY:
        return None
    return (
        f"Agreement can harm: in {found.mostly_wrong:.0%} of the groups most rollouts perceive "
        f"wrongly, and {AGREEMENT} hardly goes with true perception (r {seen.r:.2f}, not surely "
        f"above {NOISY:g}): an error that rollouts share can be paid as much as the truth, and "
        "where both held it cost answers (docs/results.md)."
    )


def _assumed(found: Measured, advice: Advice) -> str:
    known = f"a_r is {advice.reasoning:.2f}"
    if advice.reasoning_from == "after_right":
        known = (
            "a_r was not measured, and the share of right answers after right perceptions, "
            f"{advice.reasoning:.2f}, stands for it"
        )
    turns = "no small alpha helps on all tokens"
    if advice.break_even is not None:
        turns = f"a small alpha helps on all tokens from {advice.break_even:.2f} times as readily"
    learns = "as readily as reasoning, as with losses averaged over all tokens"
    if found.plasticity != 1:
        learns = f"{found.plasticity:.1f} times as readily as reasoning, by the losses' averages"
    return (
        f"Assumed: {known}; a right answer needs a right perception; perception learns {learns} "
        f"({turns}); the next update, not the end."
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
