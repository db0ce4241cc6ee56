"""Rollouts for the tests of reward coupling, and the correlation within groups in NumPy."""

import math

import numpy as np
import torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
NAN = float("nan")


def rollouts(rows=600, groups=60, seed=0, scattered=False, missing=0.1, candidates=None):
    """Graded outcome, binary perception, graded reasoning; ids far apart."""
    g = torch.Generator().manual_seed(seed)
    shape = (rows,) if candidates is None else (rows, candidates)
    group = torch.randint(groups, (rows,), generator=g) * 10**15 - 7 * 10**16
    if not scattered:
        group = group.sort(descending=True).values  # runs, but not in rising order
    perception = (torch.rand(rows, generator=g) < 0.6).double()
    outcome = torch.rand(shape, generator=g) + 0.3 * perception.view(-1, *[1] * (len(shape) - 1))
    reasoning = torch.rand(rows, generator=g)
    for column in (outcome, perception, reasoning):
        column[torch.rand(column.shape, generator=g) < missing] = NAN
    return outcome, perception, reasoning, group


def numpy_within(x, y, group):
    keep = ~(np.isnan(x) | np.isnan(y))
    x, y, group = x[keep].copy(), y[keep].copy(), group[keep]
    for g in np.unique(group):
        x[group == g] -= x[group == g].mean()
        y[group == g] -= y[group == g].mean()
    return (x @ y) / math.sqrt((x @ x) * (y @ y))
