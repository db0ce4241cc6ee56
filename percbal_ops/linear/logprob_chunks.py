"""Log-probability and entropy from hidden states, by chunks of rows, and their gradients; (M11).

Forward: one GEMM. Backward: the logits again, dX, dW. Four in all, because the upstream gradient of
a token (an advantage times a ratio) is known only after the log-probabilities are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from percbal_ops.linear.inputs import LinearInputs, LogprobOptions, Needs
from percbal_ops.linear.norms import HeadGradient, fresh
from percbal_ops.linear.plan import Plan, buffer_rows, make_plan, may_ask
from percbal_ops.losses.reference import accumulate_dtype


def linear_token_logprob(
    inputs: LinearInputs, options: LogprobOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability (N,), entropy (N,), and the statistics (N, 5) that backward needs."""
    hidden, head, bias, target = inputs
    n, dtype = hidden.shape[0], accumulate_dtype(hidden)
    with torch.autocast(hidden.device.type, enabled=False):
        plan = _plan(hidden, head, target != options.ignore_index, False)
        results = [hidden.new_zeros(shape, dtype=dtype) for shape in ((n,), (n,), (n, 5))]
        buffer = fresh(hidden, (plan.longest, head.shape[0]), hidden.dtype)
        for chunk in plan.chunks:
            logits = _logits(chunk.take(hidden), head, bias, buffer)
            valid = chunk.take(plan.valid)
            index = torch.where(valid, chunk.take(target), 0)
            rows = torch.ops.percbal.token_logprob_rows(
                logits, index, options.temperature, options.softcap
            )
            for result, values in zip(results, rows, strict=True):
                counts = valid if values.dim() == 1 else valid[:, None]
                chunk.put(result, torch.where(counts, values, 0.0))
    logprob, entropy, stats = results
    return logprob, entropy, stats


def linear_token_logprob_backward(
    grad_logprob: Tensor,
    grad_entropy: Tensor,
    inputs: LinearInputs,
    stats: Tensor,
    options: LogprobOptions,
    needs: Needs,
) -> tuple[Tensor, Tensor, Tensor]:
    """dX (N, D), dW (V, D), db (V,), or empty tensors. Rows without upstream are dropped where the
    device may be asked for them."""
    hidden, head, bias, target = inputs
    dtype = accumulate_dtype(hidden)
    dhidden = hidden.new_zeros(hidden.shape if needs.hidden else 0)
    dbias = torch.zeros(head.shape[0] if needs.bias else 0, dtype=dtype, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        valid = (target != options.ignore_index) & ((grad_logprob != 0) | (grad_entropy != 0))
        plan = _plan(hidden, head, valid, needs.head)
        low = dtype != hidden.dtype and len(plan.chunks) > 1
        dhead = HeadGradient(head, dtype if low else head.dtype) if needs.head else None
        buffer = fresh(hidden, (plan.longest, head.shape[0]), hidden.dtype)
        for chunk in plan.chunks:
            valid, x, saved = (chunk.take(t) for t in (plan.valid, hidden, stats))
            index = torch.where(valid, chunk.take(target), 0)
            up = [torch.where(valid, chunk.take(g), 0.0) for g in (grad_logprob, grad_entropy)]
            if not plan.exact:
                # logits made of zeros may lie far above the row's maximum: below +inf nothing does
                x, saved = (torch.where(valid[:, None], t, 0.0) for t in (x, saved))
                saved[:, 0].masked_fill_(~valid, torch.inf)
            logits = _logits(x, head, bias, buffer)
            torch.ops.percbal.token_logprob_gradient_(
                logits, index, saved, *up, options.temperature, options.softcap
            )
            if needs.hidden:
                chunk.put(dhidden, torch.mm(logits, head))
            if needs.bias:
                dbias += logits.sum(0, dtype=dtype)
            if dhead is not None:
                dhead.add(logits, x)
        nothing = head.new_empty(0)
        return (
            dhidden,
            nothing if dhead is None else dhead.finish(head.dtype),
            dbias.to(head.dtype),
        )


def _plan(hidden: Tensor, head: Tensor, valid: Tensor, need_head: bool) -> Plan:
    ones = torch.ones((), device=hidden.device).expand(valid.shape)
    rows = buffer_rows(hidden, head, need_head)
    return make_plan(valid, ones, None, "logits", 0, rows, ask=may_ask(hidden, head))


def _logits(x: Tensor, head: Tensor, bias: Tensor | None, buffer: Tensor) -> Tensor:
    """x (n, D) -> (n, V), in the buffer."""
    logits = buffer[: x.shape[0]]
    if bias is None:
        return torch.mm(x, head.t(), out=logits)
    return torch.addmm(bias, x, head.t(), out=logits)
