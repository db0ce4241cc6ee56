"""The GPU benchmark's own code, as far as it runs without a GPU."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import common  # noqa: E402
from gpu import linear, linear_peers, peers, rows  # noqa: E402
from gpu.facts import Facts, lines  # noqa: E402


@pytest.fixture
def inputs() -> peers.Inputs:
    torch.manual_seed(0)
    ids = torch.tensor([0, 0, 1, 1, 1, 1])
    logits = torch.randn(6, 50, requires_grad=True)
    return peers.Inputs(logits, torch.randint(50, (6,)), ids, torch.tensor([0.3, 0.7]))


def test_table_covers_every_work_of_every_provider() -> None:
    found = list(rows.cases((50257, 152064), ("bf16",)))
    assert len(found) == 2 * len(rows.WORKS) * len(peers.PROVIDERS) == len(set(found))


def test_floor_is_one_read_and_for_a_gradient_one_write() -> None:
    once = rows.ROWS * 50257 * 2
    assert rows.floor_bytes(rows.Case(50257, "bf16", "loss and norms", "any")) == once
    assert rows.floor_bytes(rows.Case(50257, "bf16", "segments", "any")) == 2 * once
    assert rows.floor_bytes(rows.Case(50257, "fp32", "mean", "any")) == 4 * once


@pytest.mark.parametrize("work", rows.WORKS)
def test_providers_do_the_same_work(inputs: peers.Inputs, work: str) -> None:
    """Ours and the rivals' common route, on the CPU: same gradient, same norms."""
    ours = peers.percbal(inputs, work)()
    our_grad = inputs.logits.grad
    theirs = peers.from_token_losses(
        lambda logits, target: torch.nn.functional.cross_entropy(logits, target, reduction="none"),
        inputs,
        work,
        peers.norms_by_softmax,
    )()
    if work == "loss and norms":
        torch.testing.assert_close(ours.loss, theirs[0])
        assert our_grad is None and inputs.logits.grad is None
    else:
        torch.testing.assert_close(our_grad, inputs.logits.grad)
        peers.torch_eager(inputs, work if work != "segments" else "mean")()
    norms = {"loss and norms": lambda: theirs[1], "segments": lambda: theirs}.get(work)
    if norms:
        # theirs is of the sum over a segment, ours of its mean
        torch.testing.assert_close(ours.segment_grad_norm * torch.tensor([2.0, 4.0]), norms())


@pytest.mark.parametrize(
    "reason, left",
    [
        (ImportError("No module named 'peer'"), {"skipped": "No module named 'peer'"}),
        (peers.Unsuitable("rows are odd"), {"skipped": "rows are odd"}),
        (RuntimeError("launch"), {"error": "RuntimeError: launch"}),
    ],
)
def test_a_provider_that_cannot_run_leaves_its_reason(
    inputs: peers.Inputs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    reason: Exception,
    left: dict[str, str],
) -> None:
    def provider(*_: object) -> None:
        raise reason

    monkeypatch.setitem(peers.PROVIDERS, "broken", provider)
    case = rows.Case(50, "fp32", "mean", "broken")
    facts = Facts("rows", tmp_path)
    facts.measure(str(case), lambda: rows.measure(case, inputs, 1.0))
    (line,) = lines(facts.path)
    assert {name: line.get(name) for name in left} == left
    assert facts.failed == ("error" in left)


@pytest.fixture
def linear_inputs() -> linear_peers.LinearInputs:
    return linear.make_inputs(linear.Shape(30, 8, 40), "cpu", torch.float32)


@pytest.mark.parametrize("work", linear.WORKS)
@pytest.mark.parametrize("provider", ["torch eager", "torch.compile", "torch chunked"])
def test_providers_from_hidden_states_do_the_same_work(
    linear_inputs: linear_peers.LinearInputs,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
    provider: str,
) -> None:
    if provider == "torch chunked" and not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        pytest.skip("this torch has no chunked linear cross-entropy")
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(linear_peers, "CHUNK", 7)
    hidden, head = linear_inputs[:2]
    ours = linear_peers.percbal(linear_inputs, work)()
    grads = hidden.grad, head.grad
    theirs = linear_peers.PROVIDERS[provider](linear_inputs, work)()
    for a, b in zip(grads, (hidden.grad, head.grad), strict=True):
        torch.testing.assert_close(a, b)
    if work == "segments":
        # theirs is of the sum over a segment of 3 or 27 tokens, ours of its mean
        torch.testing.assert_close(ours * torch.tensor([3.0, 27.0]), theirs)


def test_linear_table_counts_the_products_of_each_route() -> None:
    one = 2 * 8192 * 3584 * 152064
    case = linear.Case("Qwen2.5-VL-7B", "plain", "percbal")
    assert linear.flops(case) == 3 * one
    assert linear.flops(case._replace(work="segments")) == 3 * one
    assert linear.flops(case._replace(work="segments", provider="liger-kernel")) == 5 * one
    found = linear.cases(tuple(linear.SHAPES))
    each = len(linear.WORKS) * len(linear_peers.PROVIDERS)
    assert len(found) == len(set(found)) == len(linear.SHAPES) * each


@pytest.mark.parametrize("provider, note", [("liger-kernel", "liger_kernel"), ("quack", "quack")])
def test_a_missing_peer_is_skipped_with_its_reason(
    linear_inputs: linear_peers.LinearInputs, provider: str, note: str
) -> None:
    if importlib.util.find_spec(note):
        pytest.skip(f"{note} is installed")
    found = linear.measure(linear.Case("Llama-3-8B", "plain", provider), linear_inputs, 1.0)
    assert found == {"skipped": f"No module named '{note}'"}


def test_a_row_that_ran_other_kernels_than_its_name_says_is_no_row() -> None:
    peers.check_kernels("percbal Triton", ["loss_kernel", "memset"])
    peers.check_kernels("torch eager", ["whatever"])
    with pytest.raises(peers.Unsuitable, match="loss_kernel did not run, but cluster_kernel"):
        peers.check_kernels("percbal Triton", ["cluster_kernel"])


def test_the_kernels_of_a_call_are_named_by_the_profiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "REHEARSAL", True)  # of a CPU
    monkeypatch.setattr(peers, "synchronize", lambda: None)
    x = torch.randn(200, 200)
    assert "aten::mm" in peers.longest_kernels(lambda: x @ x)


@pytest.mark.parametrize("git", [True, False], ids=["no checkout", "no git"])
def test_without_a_checkout_or_git_the_commit_is_unknown(
    git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if git:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        monkeypatch.delenv("GIT_DIR", raising=False)
        monkeypatch.setattr(common, "__file__", str(tmp_path / "common.py"))
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert common.environment()["commit"] == "unknown"
