"""Facts about flipped verdicts: how many, by what, and how they correlate with the truth."""

from __future__ import annotations

import numpy as np
import pytest

from percbal.rewards import flipped

TEXTS = [f"text {i}" for i in range(4000)]


def truth(completions, **_):
    return [float(int(text.split()[1]) % 4 == 0) for text in completions]


@pytest.mark.parametrize("share", [0.0, 0.11, 0.34, 0.5, 1.0])
def test_the_correlation_is_the_one_that_the_formula_says(share):
    true, noisy = truth(TEXTS), flipped(truth, share, seed=1)(TEXTS)
    assert np.mean(np.not_equal(true, noisy)) == pytest.approx(share, abs=0.03)
    p = 0.25
    q = p + share - 2 * share * p
    expected = (1 - 2 * share) * np.sqrt(p * (1 - p) / (q * (1 - q)))
    assert np.corrcoef(true, noisy)[0, 1] == pytest.approx(expected, abs=0.05)


def test_flips_are_repeated_by_a_run_that_resumes_and_drawn_for_each_sibling():
    noisy = flipped(truth, 0.5, seed=1)
    assert noisy(TEXTS) == noisy(TEXTS) != flipped(truth, 0.5, seed=2)(TEXTS)
    same = noisy(["text 4"] * 100)
    assert 30 < sum(same) < 70


def test_the_name_tells_it_from_the_truth_and_missing_labels_stay_missing():
    assert flipped(truth, 0.1).__name__ == "flipped_truth"
    assert flipped(lambda completions, **_: [None], 1.0)(["x"]) == [None]


def test_what_cannot_be_flipped_is_refused():
    with pytest.raises(ValueError, match="share must be in .0, 1., got 1.5"):
        flipped(truth, 1.5)
    with pytest.raises(ValueError, match="only verdicts, 0 or 1, can be flipped, got 0.5"):
        flipped(lambda completions, **_: [0.5], 0.1)(["x"])
