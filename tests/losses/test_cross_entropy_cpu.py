"""What is particular to the C++ kernels: every instruction set, threads, layouts, extreme rows."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import percbal_ops.losses.library  # noqa: F401  defines torch.ops.percbal
from percbal_ops.losses import reference

_C = pytest.importorskip("percbal_ops._C")
LEVELS = ("portable", "avx2", "avx512")
PLAIN = (-100, 0.0, 0.0, 0.0)  # ignore_index, label_smoothing, z_loss, softcap
OPTIONS = {
    "plain": PLAIN,
    "smooth": (-100, 0.1, 0.0, 0.0),
    "z-loss": (-100, 0.0, 1e-2, 0.0),
    "softcap": (-100, 0.0, 0.0, 4.0),
    "all": (-100, 0.1, 1e-2, 4.0),
}
# around the lanes of a vector and of a pair, around a block, and a real vocabulary
VOCABULARIES = (1, 2, 3, 15, 16, 17, 31, 33, 64, 117, 511, 513, 2047, 2048, 2049, 4133, 50257)
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
Case = dict[str, Any]


def acc(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def case(
    logits: Tensor, target: Tensor, options: tuple[Any, ...] = PLAIN, weight: Tensor | None = None
) -> Case:
    rows = torch.linspace(-0.5, 1.5, logits.shape[0], dtype=acc(logits.dtype))
    return {
        "logits": logits,
        "target": target,
        "row_weight": rows,
        "weight": None if weight is None else weight.to(rows.dtype),
        "options": options,
    }


def random_case(dtype: torch.dtype, vocab: int, options: tuple[Any, ...], weighted: bool) -> Case:
    g = torch.Generator().manual_seed(vocab)
    rows = 3 if vocab > 5000 else 5
    logits = (3 * torch.randn(rows, vocab, generator=g)).to(dtype)
    target = torch.randint(0, vocab, (rows,), generator=g)
    target[0], target[1], target[2] = 0, vocab - 1, -100
    return case(logits, target, options, torch.rand(vocab, generator=g) if weighted else None)


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


def run(inputs: Case) -> dict[str, Tensor]:
    logits, target, weight = inputs["logits"], inputs["target"], inputs["weight"]
    options, row_weight = inputs["options"], inputs["row_weight"]
    ops = torch.ops.percbal
    total, loss, grad_sq, dlogits = ops.weighted_cross_entropy(
        logits, target, row_weight, weight, *options, True
    )
    alone, _, stats = ops.token_cross_entropy(logits, target, weight, *options)
    later = ops.token_cross_entropy_backward(row_weight, logits, target, weight, stats, *options)
    return {
        "total": total,
        "loss": loss,
        "grad_sq": grad_sq,
        "dlogits": dlogits,
        "stats": stats,
        "loss_alone": alone,
        "dlogits_later": later,
    }


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
    done: dict[str, dict[str, dict[str, Tensor]]] = {}

    def at(level: str) -> dict[str, dict[str, Tensor]]:
        if level not in done:
            result = subprocess.run(
                [sys.executable, __file__, str(folder / "inputs.pt"), str(folder / level)],
                env={**os.environ, "PERCBAL_CPU": level},
                capture_output=True,
                text=True,
            )
            if "this processor has only" in result.stderr:
                pytest.skip(f"this processor has no {level}")
            assert result.returncode == 0, result.stderr
            done[level] = torch.load(folder / level)
        return done[level]

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


@pytest.mark.parametrize("name", ["token_cross_entropy", "token_cross_entropy_backward",
                                  "weighted_cross_entropy", "scale_"])  # fmt: skip
def test_cpp_serves_the_cpu(name: str) -> None:
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"percbal::{name}", "CPU")


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


@pytest.mark.parametrize("rows,vocab", [(37, 50257), (5000, 117), (1, 300000)])
def test_thread_count_changes_no_bit(rows: int, vocab: int) -> None:
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(0))
    inputs = case(logits, torch.arange(rows) % vocab)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(run(inputs))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(results[0][key], other[key]) for key in other)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "wider rows": lambda x: torch.cat([x, x.new_full((x.shape[0], 3), float("nan"))], 1)[:, :-3],
    "shifted": lambda x: torch.cat([x.new_full((x.shape[0], 1), float("nan")), x], 1)[:, 1:],
    "every other row": lambda x: x.repeat_interleave(2, 0)[::2],
    "transposed": lambda x: x.t().contiguous().t(),
    "every other class": lambda x: x.repeat_interleave(2, 1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", ["plain", "all"])
def test_strides_change_no_bit(layout: str, dtype: torch.dtype, options: str) -> None:
    dense = random_case(dtype, 117, OPTIONS[options], weighted=True)
    strided = LAYOUTS[layout](dense["logits"])
    assert strided.stride() != dense["logits"].stride() and torch.equal(strided, dense["logits"])
    target = dense["target"].repeat_interleave(3)[::3]
    weight = dense["weight"].repeat_interleave(2)[::2]
    got = run({**dense, "logits": strided, "target": target, "weight": weight})
    expected = run(dense)
    assert all(torch.equal(got[key], expected[key]) for key in expected)
    assert got["dlogits"].is_contiguous()


def test_a_repeated_row_and_an_expanded_weight_are_read_in_place() -> None:
    row = torch.randn(1, 117)
    target = torch.tensor([3, 5, 116])
    got = run(case(row.expand(3, 117), target) | {"row_weight": torch.tensor(0.25).expand(3)})
    expected = run(case(row.repeat(3, 1), target) | {"row_weight": torch.full((3,), 0.25)})
    assert all(torch.equal(got[key], expected[key]) for key in expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_narrow_targets_are_converted(dtype: torch.dtype) -> None:
    inputs = case(torch.randn(3, 9), torch.tensor([0, 8, 4]))
    narrow = run({**inputs, "target": inputs["target"].to(dtype)})
    assert torch.equal(narrow["dlogits"], run(inputs)["dlogits"])


@pytest.mark.parametrize("wrong", [5, -1, 2**40, -(2**63)])
def test_a_target_out_of_range_is_named(wrong: int) -> None:
    inputs = case(torch.randn(3, 5), torch.tensor([0, wrong, -100]))
    with pytest.raises(RuntimeError, match=f"Target {wrong} is out of bounds."):
        run(inputs)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"logits": torch.randn(5)}, r"logits must be \(N, V\), got shape \(5\)"),
        ({"logits": torch.ones(3, 5, dtype=torch.int32)}, "logits must be float32"),
        ({"target": torch.tensor([1, 2])}, r"target must be \(3,\), got shape \(2\)"),
        ({"row_weight": torch.ones(4)}, r"row_weight must be \(3,\), got shape \(4\)"),
        ({"weight": torch.ones(4)}, r"weight must be \(5,\), got shape \(4\)"),
    ],
)
def test_bad_shapes_and_dtypes_are_named(change: Case, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        run(case(torch.randn(3, 5), torch.tensor([0, 1, 2])) | change)


def test_a_nan_weight_reaches_the_gradient_whatever_its_bits() -> None:
    nan = torch.tensor([0x7FFFFFFF], dtype=torch.int32).view(torch.float32)
    logits = torch.randn(1, 117).bfloat16()
    got = run(case(logits, torch.tensor([3])) | {"row_weight": nan})
    assert got["dlogits"].isnan().all()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_input(shape: tuple[int, int]) -> None:
    got = run(case(torch.randn(shape), torch.full(shape[:1], -100)))
    assert got["total"] == 0 and got["dlogits"].shape == shape


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("factor_dtype", DTYPES, ids=str)
def test_scale_multiplies_in_place(dtype: torch.dtype, factor_dtype: torch.dtype) -> None:
    factor = torch.tensor(0.3, dtype=factor_dtype)
    for x in (torch.randn(7, 71).to(dtype), torch.randn(71, 7).to(dtype).t()):
        expected = x * factor.to(acc(dtype)).item()
        torch.ops.percbal.scale_(x, factor)
        torch.testing.assert_close(x, expected, rtol=torch.finfo(dtype).eps, atol=0)


def test_scale_by_one_writes_nothing() -> None:
    # a page that may not be written: an access would end the process
    page = torch.frombuffer(mmap.mmap(-1, 4096, prot=mmap.PROT_READ), dtype=torch.float32)
    torch.ops.percbal.scale_(page, torch.tensor(1.0))
    assert not page.any()


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs binutils")
def test_the_library_needs_only_the_stable_abi() -> None:
    """Then one binary serves many versions of torch: no C++ symbol of torch is left undefined."""
    assert _C.__file__ is not None
    symbols = subprocess.run(
        ["nm", "-D", "-C", "--undefined-only", str(Path(_C.__file__))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "torch_call_dispatcher" in symbols
    assert not [s for s in symbols.splitlines() if "at::" in s or "c10::" in s or "torch::" in s]


if __name__ == "__main__":
    torch.set_num_threads(1)
    saved = torch.load(sys.argv[1])
    torch.save({name: run(inputs) for name, inputs in saved.items()}, sys.argv[2])
