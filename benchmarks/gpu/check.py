"""Correct at full size? Every kernel against float64 on the same logits, and against itself.

    python -m gpu.check      # $RESULTS/facts.jsonl

The largest relative errors of losses and norms, and of a gradient's entries as a share of the
largest entry of their row; `repeats`: a second call gives the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpu.facts import REHEARSAL, Facts, Found
from gpu.inputs import KERNELS, PLAIN, Outputs, Rows, make_rows
from percbal_ops.linear import logprob_rows
from percbal_ops.losses import reference
from percbal_ops.losses.options import LossOptions

VOCABS = (4096, 5001) if REHEARSAL else (152064, 50264, 50257, 8200)
STEP = 256  # rows taken to float64 at a time
# float32 sums over 152064 exponentials, and half a unit of bf16 in the gradient; the interpreter
# cuts to bf16 where a GPU rounds
ALLOWED = {"loss": 2e-5, "norm": 4e-5, "gradient": (2**-7 if REHEARSAL else 2**-8) * 1.01}


def check(name: str, rows: Rows) -> Found:
    got, again = KERNELS[name](rows), KERNELS[name](rows)
    found: Found = {"repeats": all(map(torch.equal, got, again))}
    del again
    worst = largest_errors(rows, got)
    found |= {k: float(f"{x:.2e}") for k, x in worst.items()}
    right = found["repeats"] and all(worst[k] <= ALLOWED[k] for k in worst)
    if not right:
        raise AssertionError(f"allowed are {ALLOWED}, found {found}")
    return found


def largest_errors(rows: Rows, got: Outputs) -> dict[str, float]:
    loss, square, gradient = got
    worst = dict.fromkeys(ALLOWED, 0.0)
    options = LossOptions(None, *PLAIN)
    for begin in range(0, rows.logits.shape[0], STEP):
        part = slice(begin, begin + STEP)
        z, y = rows.logits[part].double(), rows.target[part]
        true_loss, true_square, _ = reference.token_cross_entropy(z, y, *options)
        truth = reference.logit_gradient(rows.row_weight[part].double(), z, y, options)
        size = truth.abs().amax(1, keepdim=True).clamp(min=1e-30)
        errors = {
            "loss": relative(loss[part], true_loss),
            "norm": relative(square[part].double().sqrt(), true_square.sqrt()),
            "gradient": float(((gradient[part].double() - truth).abs() / size).amax()),
        }
        # a NaN is larger than everything
        worst = {k: max(worst[k], x) if x == x else x for k, x in errors.items()}
    return worst


def check_logprob(rows: Rows) -> Found:
    """The row kernels of linear_token_logprob: both outputs and the gradient of both."""
    z, y = rows.logits, rows.target.clamp(min=0)
    options, up = (0.7, 0.0), rows.row_weight
    logprob, entropy, stats = torch.ops.percbal.token_logprob_rows(z, y, *options)
    gradient = z.clone()
    torch.ops.percbal.token_logprob_gradient_(gradient, y, stats, up, up.neg(), *options)
    worst = dict.fromkeys(("logprob", "entropy", "gradient"), 0.0)
    for begin in range(0, z.shape[0], STEP):
        part = slice(begin, begin + STEP)
        truth = z[part].double()
        found = logprob_rows.token_logprob_rows(truth, y[part], *options)
        ups = up[part].double(), up[part].double().neg()
        logprob_rows.token_logprob_gradient_(truth, y[part], found[2], *ups, *options)
        size = truth.abs().amax(1, keepdim=True).clamp(min=1e-30)
        errors = {
            "logprob": relative(logprob[part], found[0]),
            "entropy": relative(entropy[part], found[1]),
            "gradient": float(((gradient[part].double() - truth).abs() / size).amax()),
        }
        worst = {k: max(worst[k], x) if x == x else x for k, x in errors.items()}
    allowed = {"logprob": 2e-5, "entropy": 2e-5, "gradient": ALLOWED["gradient"]}
    if not all(worst[k] <= allowed[k] for k in worst):
        raise AssertionError(f"allowed are {allowed}, found {worst}")
    return {k: float(f"{x:.2e}") for k, x in worst.items()}


def relative(ours: Tensor, truth: Tensor) -> float:
    """Where the truth is 0, as of ignored rows, ours has to be."""
    error = (ours.double() - truth).abs() / truth.abs()
    return float(torch.where((truth == 0) & (ours == 0), 0.0, error).amax())


def main() -> None:
    facts = Facts("check")
    for vocab in VOCABS:
        rows = make_rows(vocab)
        for name in KERNELS:
            if name.startswith("CUDA C++") and vocab % 8:
                continue  # its rows start on 16 bytes
            facts.measure(f"{name}, {rows}", lambda n=name, r=rows: check(n, r))
        facts.measure(f"log-probability, {rows}", lambda r=rows: check_logprob(r))
    facts.exit()


if __name__ == "__main__":
    main()
