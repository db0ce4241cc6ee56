"""The GPU benchmark's own code, as far as it runs without a GPU."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bench_cross_entropy_gpu as bench  # noqa: E402
import bench_linear_gpu as linear  # noqa: E402
import common  # noqa: E402
import gpu_linear_peers  # noqa: E402
import gpu_peers  # noqa: E402
import plot  # noqa: E402


@pytest.fixture
def inputs() -> gpu_peers.Inputs:
    torch.manual_seed(0)
    ids = torch.tensor([0, 0, 1, 1, 1, 1])
    logits = torch.randn(6, 50, requires_grad=True)
    return gpu_peers.Inputs(logits, torch.randint(50, (6,)), ids, torch.tensor([0.3, 0.7]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["bench_cross_entropy_gpu", "bench_linear_gpu"])
def test_without_a_gpu_nothing_is_measured(name: str) -> None:
    script = BENCHMARKS / f"{name}.py"
    command = [sys.executable, script, "--name", "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no GPU: nothing measured\n")
    assert not (BENCHMARKS / "results" / "none.csv").exists()


def test_check_script_is_a_shell_script_of_ten_minutes_at_most() -> None:
    script = BENCHMARKS / "gpu_check.sh"
    subprocess.run(["sh", "-n", script], check=True)
    limits = re.findall(r"^ *step (?:\w+|\"[^\"]+\") (\d+)", script.read_text(), re.MULTILINE)
    assert len(limits) == 9 and sum(map(int, limits)) <= 600


def test_check_script_names_tests_that_exist() -> None:
    named = re.findall(r"\w+/\w+\.py", (BENCHMARKS / "gpu_check.sh").read_text())
    assert named and all((BENCHMARKS.parent / path).exists() for path in named)


def test_table_covers_every_work_of_every_provider() -> None:
    found = list(bench.cases((50257, 152064), ("bf16",)))
    assert len(found) == 2 * len(bench.WORKS) * len(gpu_peers.PROVIDERS) == len(set(found))


def test_floor_is_one_read_and_for_a_gradient_one_write() -> None:
    once = bench.ROWS * 50257 * 2
    assert bench.floor_bytes(bench.Case(50257, "bf16", "loss and norms", "any")) == once
    assert bench.floor_bytes(bench.Case(50257, "bf16", "segments", "any")) == 2 * once
    assert bench.floor_bytes(bench.Case(50257, "fp32", "mean", "any")) == 4 * once


@pytest.mark.parametrize("work", bench.WORKS)
def test_providers_do_the_same_work(inputs: gpu_peers.Inputs, work: str) -> None:
    """Ours and the rivals' common route, on the CPU: same gradient, same norms."""
    ours = gpu_peers.percbal(inputs, work)()
    our_grad = inputs.logits.grad
    theirs = gpu_peers.from_token_losses(
        lambda logits, target: torch.nn.functional.cross_entropy(logits, target, reduction="none"),
        inputs,
        work,
        gpu_peers.norms_by_softmax,
    )()
    if work == "loss and norms":
        torch.testing.assert_close(ours.loss, theirs[0])
        assert our_grad is None and inputs.logits.grad is None
    else:
        torch.testing.assert_close(our_grad, inputs.logits.grad)
        gpu_peers.torch_eager(inputs, work if work != "segments" else "mean")()
    norms = {"loss and norms": lambda: theirs[1], "segments": lambda: theirs}.get(work)
    if norms:
        # theirs is of the sum over a segment, ours of its mean
        torch.testing.assert_close(ours.segment_grad_norm * torch.tensor([2.0, 4.0]), norms())


@pytest.mark.parametrize(
    "reason, note",
    [
        (ImportError("No module named 'peer'"), "skipped: No module named 'peer'"),
        (gpu_peers.Unsuitable("rows are odd"), "skipped: rows are odd"),
        (RuntimeError("launch"), "failed: RuntimeError: launch"),
    ],
)
def test_a_provider_that_cannot_run_leaves_its_reason(
    inputs: gpu_peers.Inputs, monkeypatch: pytest.MonkeyPatch, reason: Exception, note: str
) -> None:
    def provider(*_: object) -> None:
        raise reason

    monkeypatch.setitem(gpu_peers.PROVIDERS, "broken", provider)
    case = bench.Case(50, "fp32", "mean", "broken")
    (row,) = bench.measure(case, inputs, 1.0)
    assert (row.who, row.work, row.ms, row.note) == ("broken", "mean", None, note)


def test_plot_draws_the_rows_that_hold_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    case = bench.Case(1000, "bf16", "mean", "ours")
    rows = [
        bench.row(case, "cold", ms=2.0),
        bench.row(case._replace(vocab=500), "cold", ms=1.0),
        bench.row(case._replace(provider="theirs"), "", note="skipped: not installed"),
        bench.machine_row("copy", "8192x1000", "bf16", "4000 GB/s"),
    ]
    table = common.write_csv(rows, "gpu")
    assert plot.panels(table) == {("mean, cold L2", "bf16"): {"ours": [(500, 1.0), (1000, 2.0)]}}
    assert plot.draw(table).read_text().startswith("<?xml")


def test_plot_refuses_a_table_without_times(tmp_path: Path) -> None:
    table = tmp_path / "gpu.csv"
    table.write_text("work,who\n1,2\n")
    with pytest.raises(ValueError, match="has no column dtype, ms, shape"):
        plot.draw(table)


@pytest.fixture
def linear_inputs() -> gpu_linear_peers.LinearInputs:
    return linear.make_inputs(linear.Shape(30, 8, 40), "cpu", torch.float32)


@pytest.mark.parametrize("work", linear.WORKS)
@pytest.mark.parametrize("provider", ["torch eager", "torch.compile", "torch chunked"])
def test_providers_from_hidden_states_do_the_same_work(
    linear_inputs: gpu_linear_peers.LinearInputs,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
    provider: str,
) -> None:
    if provider == "torch chunked" and not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        pytest.skip("this torch has no chunked linear cross-entropy")
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(gpu_linear_peers, "CHUNK", 7)
    hidden, head = linear_inputs[:2]
    ours = gpu_linear_peers.percbal(linear_inputs, work)()
    grads = hidden.grad, head.grad
    theirs = gpu_linear_peers.PROVIDERS[provider](linear_inputs, work)()
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
    assert linear.note(case, 10.0, 2.0).endswith("its products alone take 60%")
    found = linear.cases(tuple(linear.SHAPES))
    assert len(found) == len(set(found)) == 3 * len(linear.WORKS) * len(gpu_linear_peers.PROVIDERS)


@pytest.mark.parametrize("provider, note", [("liger-kernel", "liger_kernel"), ("quack", "quack")])
def test_a_missing_peer_is_skipped_with_its_reason(
    linear_inputs: gpu_linear_peers.LinearInputs, provider: str, note: str
) -> None:
    if importlib.util.find_spec(note):
        pytest.skip(f"{note} is installed")
    case = linear.Case("Llama-3-8B", "plain", provider)
    row = linear.measure(case, linear_inputs, 1.0)
    assert (row.who, row.work, row.ms) == (provider, "plain, Llama-3-8B", None)
    assert row.note == f"skipped: No module named '{note}'"
