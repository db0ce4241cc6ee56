"""The row kernels of linear_token_logprob against the plain PyTorch beside them, in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import CASES, IGNORE

from percbal_ops import implementation
from percbal_ops.linear import logprob_rows
from percbal_ops.linear.logprob import linear_token_logprob  # noqa: F401  defines the operators

compiled = pytest.mark.skipif(
    implementation("token_logprob_rows", "cpu") != "cpp",
    reason="the C++ operators are not built",
)
# around the lengths where a vector, a step and a block end, for every width of vector
VOCABS = (1, 2, 3, 15, 17, 31, 64, 65, 117, 255, 511, 1025, 2047, 2049, 4100)
OPTIONS = {"plain": (1.0, 0.0), "temperature": (0.6, 0.0), "both": (1.7, 5.0)}


def logits_and_targets(vocab, dtype, rows=7):
    generator = torch.Generator().manual_seed(vocab)
    logits = 4 * torch.randn(rows, vocab, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.linspace(0, vocab - 1, rows).long()


def both_passes(rows_operator, gradient_operator, logits, target, options):
    """Log-probability, entropy, and the gradient of a mixture of both."""
    logprob, entropy, stats = rows_operator(logits, target, *options)
    up = torch.linspace(-1, 2, len(target), dtype=logprob.dtype)
    grad = logits.clone()
    gradient_operator(grad, target, stats, up, up.flip(0), *options)
    return logprob, entropy, grad


def operators():
    return torch.ops.percbal.token_logprob_rows, torch.ops.percbal.token_logprob_gradient_


def reference():
    return logprob_rows.token_logprob_rows, logprob_rows.token_logprob_gradient_


def check(logits, target, options, tolerance, gradient_tolerance):
    ours = both_passes(*operators(), logits, target, options)
    truth = both_passes(*reference(), logits.double(), target, options)
    for a, b, rtol in zip(ours, truth, (tolerance, tolerance, gradient_tolerance), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=rtol, atol=0.1 * rtol, equal_nan=True)


def check_lengths():
    for vocab in VOCABS:
        for options in OPTIONS.values():
            check(*logits_and_targets(vocab, torch.float64), options, 1e-12, 1e-11)
            check(*logits_and_targets(vocab, torch.float32), options, 2e-6, 1e-5)
            check(*logits_and_targets(vocab, torch.bfloat16), options, 2e-6, 2**-8)
            check(*logits_and_targets(vocab, torch.float16), options, 2e-6, 2**-10)


@compiled
@pytest.mark.parametrize("level", ["portable", "avx2", "avx512"])
def test_every_instruction_set_and_every_length_of_row(level):
    code = "import test_token_logprob_rows as t; t.check_lengths()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PERCBAL_CPU": level, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    if f"PERCBAL_CPU={level}, but this processor has only" in done.stderr:
        pytest.skip(f"this processor has no {level}")
    assert done.returncode == 0, done.stderr[-3000:]


@compiled
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("case", [c for c in CASES if c.vocab < 3000], ids=str)
def test_special_rows_are_those_of_the_reference(case, options):
    """-inf, huge and equal logits, nearly certain and hopeless targets."""
    logits, target = case.make(torch.float64)
    target = target.where(target != IGNORE, 0)
    check(logits, target, OPTIONS[options], 1e-9, 1e-9)


@compiled
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("column", [0, 1])
def test_nan_and_infinity_make_a_row_nan_and_no_other(bad, column):
    logits = torch.zeros(3, 40)
    logits[1, column] = bad
    logprob, entropy, grad = both_passes(*operators(), logits, torch.zeros(3).long(), (1.0, 0.0))
    for result in (logprob, entropy, grad.sum(1)):
        assert result[1].isnan() and result[[0, 2]].isfinite().all()


@compiled
def test_bad_input_gets_one_sentence():
    rows, gradient = operators()
    logits, target = torch.zeros(3, 4), torch.zeros(3).long()
    with pytest.raises(RuntimeError, match="Target 4 is out of bounds"):
        rows(logits, torch.tensor([0, 4, 0]), 1.0, 0.0)
    with pytest.raises(RuntimeError, match=r"stats must be \(3, 5\), got shape \(3, 4\)"):
        gradient(logits, target, torch.zeros(3, 4), torch.zeros(3), torch.zeros(3), 1.0, 0.0)
