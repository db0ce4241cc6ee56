"""Hidden states and heads whose logits are the families of cases.py or plain random ones."""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from cases import IGNORE
from torch import Tensor

from percbal_ops.linear import norms as linear_norms
from percbal_ops.linear import plan as linear_plan

ROWS, FEATURES, VOCAB = 90, 12, 517


def lay_out(monkeypatch, layout, rows=16):
    """Where linear losses keep their logits: chunks of `rows` rows, or the room of the head's
    gradient, which needs as many features as rows; in tiles of 100 classes."""
    monkeypatch.setattr(linear_plan, "CPU_ROWS", rows)
    monkeypatch.setattr(linear_plan, "CPU_LOW_PRECISION_ROWS", rows)
    monkeypatch.setattr(linear_plan, "LOGITS", 0)
    monkeypatch.setattr(linear_norms, "TILE", 100)
    if layout == "room":
        monkeypatch.setattr(sys.modules[__name__], "FEATURES", 132)


def problem(dtype=torch.float64, rows=ROWS, features=None, vocab=VOCAB, seed=0):
    """hidden (rows, features), head (vocab, features), bias (vocab,), target (rows,); every fifth
    target is ignored. The three tensors require grad."""
    features = features or FEATURES
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        return x.requires_grad_()

    target = torch.randint(0, vocab, (rows,), generator=generator)
    target[::5] = IGNORE
    return draw(rows, features), draw(vocab, features), draw(vocab), target


def confident(dtype=torch.float32, rows=64, features=32, vocab=1000):
    """Tokens of which 1 - p_y falls from about 0.1 to about 1e-7 over the rows."""
    hidden, head, _, _ = problem(torch.float64, rows, features, vocab)
    target = torch.arange(rows) % vocab
    with torch.no_grad():
        head /= features**0.5
        logits = hidden @ head.t()
        others = logits.scatter(1, target[:, None], -torch.inf).logsumexp(1)
        one_minus_p = torch.logspace(-1, -7, rows, dtype=torch.float64)
        wanted = others - one_minus_p.log() - logits.gather(1, target[:, None])[:, 0]
        # along its own class: raises the target's logit by what is wanted, others by less
        own = head[target]
        hidden += own * (wanted / own.square().sum(1))[:, None]
    return (
        hidden.detach().to(dtype).requires_grad_(),
        head.detach().to(dtype).requires_grad_(),
        target,
    )


def gradients(loss: Tensor, leaves, up=None):
    return torch.autograd.grad(loss, [x for x in leaves if x.requires_grad], up)


def double(*tensors):
    return [
        t.detach().double().requires_grad_(t.requires_grad) if t.is_floating_point() else t
        for t in tensors
    ]


def plain(hidden, head, bias, target, **options):
    """F.linear + F.cross_entropy, the logits held."""
    return F.cross_entropy(F.linear(hidden, head, bias), target, **options)
