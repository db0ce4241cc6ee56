"""The C++ cross-entropy at every instruction set: as exact as torch, to the last special row."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cpu_cases import DTYPES, OPTIONS, PLAIN, Case, acc, case, random_case, run
from torch import Tensor

from percbal_ops.losses import reference

pytest.importorskip("percbal_ops._C")
LEVELS = ("portable", "avx2", "avx512")
# around the lanes of a vector and of a pair, around a block, and a real vocabulary
VOCABULARIES = (1, 2, 3, 15, 16, 17, 31, 33, 64, 117, 511, 513, 2047, 2048, 2049, 4133, 50257)


def peaked_case(vocab: int, dtype: torch.dtype) -> Case:
    """1 - p_y from 1e-1 down to 1e-9, and the reverse: a target far below the others."""
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(10, vocab, generator=g, dtype=torch.float64)
    target = torch.randint(0, vocab, (10,), generator=g)
    rows = torch.arange(10)
    logits[rows, target] = -float("inf")
    lead = torch.tensor([10.0**-k for k in range(1, 10)] + [1 - 1e-9], dtype=torch.float64)
    logits[rows, target] = logits.logsumexp(1) + ((1 - lead) / lead).log()
    return case(logits.to(dtype), target)


def cases() -> dict[str, Case]:
    out = {}
    for dtype in DTYPES:
        for vocab in VOCABULARIES:
            for name, options in OPTIONS.items():
                for weighted in (False, True):
                    # the long rows only where it differs: plain and everything at once
                    if vocab < 5000 or (name in ("plain", "all") and not weighted):
                        key = f"{dtype}-{vocab}-{name}-{'weighted' if weighted else 'even'}"
                        out[key] = random_case(dtype, vocab, options, weighted)
    for vocab in range(1, 71):
        out[f"short-{vocab}"] = random_case(torch.float32, vocab, PLAIN, False)
        out[f"short-bf16-{vocab}"] = random_case(torch.bfloat16, vocab, PLAIN, False)
    for vocab in (2, 117, 2049, 50257):
        out[f"peaked-{vocab}"] = peaked_case(vocab, torch.float32)
        out[f"peaked-f64-{vocab}"] = peaked_case(vocab, torch.float64)
    huge = random_case(torch.float32, 4133, PLAIN, False)
    for shift in (1e4, -3e6):
        out[f"huge-{shift}"] = {**huge, "logits": huge["logits"] + shift}
    out["huge-scale"] = {**huge, "logits": huge["logits"] * 1e30}
    return out


def special_case(dtype: torch.dtype, vocab: int) -> Case:
    """Rows with infinities and NaN at the target, beside it and far from it."""
    inf, nan = float("inf"), float("nan")
    logits = torch.randn(12, vocab, generator=torch.Generator().manual_seed(2)).to(dtype)
    target = torch.full((12,), 1)
    for row, (at_target, far) in enumerate(
        [(-inf, 0), (inf, 0), (nan, 0), (0, -inf), (0, inf), (0, nan), (-inf, inf), (inf, nan)]
    ):
        logits[row, 1], logits[row, -1] = at_target, far
    logits[8] = -inf  # no finite logit at all
    logits[9, torch.arange(vocab) != 1] = -inf  # no non-target class
    logits[10, : vocab // 2] = nan  # an ignored row is not read
    target[10] = -100
    logits[11, : vocab - 1] = -inf  # one non-target class, in the last column
    return case(logits, target)


SPECIALS = [(dtype, vocab) for dtype in DTYPES for vocab in (2, 17, 2051)]


@pytest.fixture(scope="module")
def inputs() -> dict[str, Case]:
    specials = {f"special-{dtype}-{vocab}": special_case(dtype, vocab) for dtype, vocab in SPECIALS}
    return cases() | specials


@pytest.fixture(scope="module")
def outputs_at(
    inputs: dict[str, Case], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, dict[str, Tensor]]]:
    """The results of every case at a level, from one process per level: it is chosen once."""
    folder = tmp_path_factory.mktemp("levels")
    torch.save(inputs, folder / "inputs.pt")
    done: dict[str, dict[str, dict[str, Tensor]] | None] = {}  # None: not on this processor

    def at(level: str) -> dict[str, dict[str, Tensor]]:
        if level not in done:
            result = subprocess.run(
                [sys.executable, __file__, str(folder / "inputs.pt"), str(folder / level)],
                env={**os.environ, "PERCBAL_CPU": level},
                capture_output=True,
                text=True,
            )
            missing = "this processor has only" in result.stderr
            assert missing or result.returncode == 0, result.stderr
            done[level] = None if missing else torch.load(folder / level)
        if (outputs := done[level]) is None:
            pytest.skip(f"this processor has no {level}")
        return outputs

    return at


def truth(inputs: Case) -> dict[str, Tensor]:
    """The reference in float64 on the same inputs."""
    wide = [
        inputs[k] if inputs[k] is None else inputs[k].double() for k in ("row_weight", "weight")
    ]
    total, loss, grad_sq, dlogits = reference.weighted_cross_entropy(
        inputs["logits"].double(), inputs["target"], *wide, *inputs["options"], True
    )
    return {"total": total, "loss": loss, "grad_sq": grad_sq, "dlogits": dlogits}


def torchs(inputs: Case) -> dict[str, Tensor]:
    """What plain torch makes of it at the same dtype."""
    logits = inputs["logits"].detach().requires_grad_()
    ignore_index, smoothing, z_loss, softcap = inputs["options"]
    u = logits.to(acc(logits.dtype))
    u = softcap * torch.tanh(u / softcap) if softcap else u
    target = inputs["target"]
    loss = F.cross_entropy(u, target, reduction="none", ignore_index=ignore_index,
                           weight=inputs["weight"], label_smoothing=smoothing)  # fmt: skip
    if z_loss:
        loss = loss + torch.where(target == ignore_index, 0.0, z_loss * u.logsumexp(1) ** 2)
    total = torch.where(target == ignore_index, 0.0, loss * inputs["row_weight"]).sum()
    (dlogits,) = torch.autograd.grad(total, logits)
    return {"total": total.detach(), "loss": loss.detach(), "dlogits": dlogits}


def error(x: Tensor, exact: Tensor, scale: float | None = None) -> float:
    """Largest error, as a share of the scale: by default, of the largest true value."""
    scale = exact.abs().max().item() if scale is None else scale
    return (x.double() - exact).abs().max().item() / scale if scale else x.abs().max().item()


@pytest.fixture(scope="module")
def answers(inputs: dict[str, Case]) -> dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """The truth and torch's answer to every case but the special rows."""
    return {name: (truth(inputs[name]), torchs(inputs[name])) for name in cases()}


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_errs_at_most_twice_as_much_as_torch(
    level: str, answers: dict[str, Any], outputs_at: Callable[..., Any]
) -> None:
    outputs = outputs_at(level)
    for name, (exact, plain) in answers.items():
        got = outputs[name]
        eps = torch.finfo(got["loss"].dtype).eps
        for key in ("total", "loss", "dlogits"):
            # torch may be exact by luck, and the truth has its own error in float64
            # the terms of the total have both signs: its scale is the largest of them
            scale = 2 * exact["loss"].abs().max().item() if key == "total" else None
            budget = 2 * error(plain[key], exact[key], scale) + 4 * eps
            assert error(got[key], exact[key], scale) <= budget, (name, key)
        assert error(got["dlogits_later"], exact["dlogits"]) <= (
            2 * error(plain["dlogits"], exact["dlogits"]) + 4 * eps
        ), name
        assert torch.equal(got["loss"], got["loss_alone"]), name


@pytest.mark.parametrize("level", LEVELS)
def test_norms_keep_their_digits(
    level: str, answers: dict[str, Any], outputs_at: Callable[..., Any]
) -> None:
    outputs = outputs_at(level)
    for name, (exact, _) in answers.items():
        norm = outputs[name]["grad_sq"].sqrt()
        eps = torch.finfo(norm.dtype).eps
        exact_norm = exact["grad_sq"].sqrt()
        assert torch.allclose(norm.double(), exact_norm, rtol=32 * eps, atol=1e-30), name


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("vocab", [2, 117, 2049, 50257])
def test_certain_rows_keep_their_digits(
    level: str, vocab: int, answers: dict[str, Any], outputs_at: Callable[..., Any]
) -> None:
    """Row by row, where loss and gradient shrink to 1e-9: relative to the row, not the batch."""
    got = outputs_at(level)[f"peaked-{vocab}"]
    exact, _ = answers[f"peaked-{vocab}"]
    assert exact["loss"].min() < 2e-9
    for row in range(10):
        assert error(got["loss"][row], exact["loss"][row]) < 1e-6
        assert error(got["dlogits"][row], exact["dlogits"][row]) < 1e-6


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype,vocab", SPECIALS, ids=str)
def test_infinities_and_nan_propagate_as_in_torch(
    level: str,
    dtype: torch.dtype,
    vocab: int,
    inputs: dict[str, Case],
    outputs_at: Callable[..., Any],
) -> None:
    special = inputs[f"special-{dtype}-{vocab}"]
    got = outputs_at(level)[f"special-{dtype}-{vocab}"]
    exact = torchs(special)
    exact["dlogits"][10] = 0  # torch makes 0 * NaN of an ignored row
    loose = {"rtol": 1e-2, "atol": 1e-2, "equal_nan": True}
    torch.testing.assert_close(got["loss"], exact["loss"].to(got["loss"]), **loose)
    for key in ("dlogits", "dlogits_later"):
        torch.testing.assert_close(got[key], exact["dlogits"], **loose)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_an_unlikely_target_of_small_weight_keeps_its_digits(label_smoothing: float) -> None:
    """-A q + (eps/V)(W - w_y) is then a small difference of large numbers; see (M4)."""
    logits, weight = torch.randn(1, 50), torch.ones(50)
    logits[0, 7], weight[7] = -9.0, 1e-4
    inputs = case(logits, torch.tensor([7]), (-100, label_smoothing, 0.0, 0.0), weight)
    inputs["row_weight"] = torch.ones(1)
    got, exact = run(inputs), truth(inputs)["dlogits"][0, 7]
    for key in ("dlogits", "dlogits_later"):
        assert error(got[key][0, 7], exact) < 2e-6


def test_levels_are_really_different_code(outputs_at: Callable[..., Any]) -> None:
    """Other instructions round differently somewhere: equal bits everywhere would mean one code."""
    keys = [f"{torch.float32}-50257-plain-even", f"{torch.float32}-4133-plain-even"]
    portable = outputs_at("portable")
    best = outputs_at("avx2")
    assert any(not torch.equal(portable[k]["dlogits"], best[k]["dlogits"]) for k in keys)


def test_an_unknown_level_is_refused() -> None:
    code = (
        "import torch, percbal_ops.losses.api as f;"
        "f.cross_entropy(torch.ones(1, 2), torch.tensor([0]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PERCBAL_CPU": "sse9"},
        capture_output=True,
        text=True,
    )
    assert "PERCBAL_CPU must be portable, avx2 or avx512, got sse9" in result.stderr


if __name__ == "__main__":
    torch.set_num_threads(1)
    saved = torch.load(sys.argv[1])
    torch.save({name: run(inputs) for name, inputs in saved.items()}, sys.argv[2])
