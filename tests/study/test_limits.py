"""Facts about dilution: how much of the outcome's signal a mixed reward leaves."""

from __future__ import annotations

import numpy as np
import pytest

from percbal.study.limits import outcome_left


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_dilution_is_the_weight_of_the_outcomes_z_in_that_of_the_mix(alpha):
    """Least squares of z(mix) on z(a) and z(p) over rollouts."""
    rng = np.random.default_rng(0)
    p = (rng.random(4000) < 0.4).astype(float)
    a = p * (rng.random(4000) < 0.7)
    z = [(x - x.mean()) / x.std() for x in (a, p, alpha * p + (1 - alpha) * a)]
    weights = np.linalg.lstsq(np.stack(z[:2], 1), z[2], rcond=None)[0]
    left = outcome_left(alpha, a.std(), p.std(), np.corrcoef(a, p)[0, 1])
    assert left == pytest.approx(weights[0], abs=1e-9)


def test_dilution_by_hand():
    assert outcome_left(0.5, 1.0, 1.0, 0.0) == pytest.approx(0.5**0.5)
    assert outcome_left(0.5, 1.0, 1.0, 1.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="the mixed reward does not vary"):
        outcome_left(0.5, 0.0, 0.0, 0.5)
