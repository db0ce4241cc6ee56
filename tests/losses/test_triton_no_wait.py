"""On CUDA losses are those of the CPU, none waits for the device but where that pays, and a CUDA
graph can hold each.

Each call below also runs on the CPU, so that without a GPU it is known to be a valid one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

import percbal_ops
from percbal_ops.linear import plan
from percbal_ops.linear.api import linear_cross_entropy, linear_segment_cross_entropy
from percbal_ops.linear.logprob import linear_token_logprob

N, D, V = 96, 64, 1024
Inputs = dict[str, torch.Tensor]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def inputs(device: str) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, D, generator=generator)
    head = torch.randn(V, D, generator=generator) / 8
    target = torch.randint(V, (N,), generator=generator)
    target[::7] = -100
    ids = torch.arange(N) % 3 - 1  # a third of the tokens is in no segment
    tensors = dict(
        hidden=hidden, head=head, target=target, ids=ids, weights=torch.tensor([0.3, 0.7])
    )
    tensors |= dict(logits=hidden @ head.t())
    tensors = {name: x.to(device) for name, x in tensors.items()}
    for name in ("hidden", "head", "logits"):
        tensors[name].requires_grad_()
    return tensors


def segments(x: Inputs) -> tuple[torch.Tensor, ...]:
    return x["target"], x["ids"], x["weights"]


def rows(x: Inputs) -> tuple[torch.Tensor, ...]:
    return x["hidden"], x["head"], x["target"]


def logprob(x: Inputs) -> torch.Tensor:
    logprob, entropy = linear_token_logprob(*rows(x), temperature=0.8)
    return (logprob + 0.1 * entropy).sum()


def level(name: str) -> Callable[[Inputs], torch.Tensor]:
    def run(x: Inputs) -> torch.Tensor:
        out = linear_segment_cross_entropy(x["hidden"], x["head"], *segments(x), grad_norm=name)
        return out.loss + out.segment_grad_norm.sum()

    return run


CALLS: dict[str, Callable[[Inputs], torch.Tensor]] = {
    "mean": lambda x: percbal_ops.cross_entropy(x["logits"], x["target"]),
    "tokens": lambda x: percbal_ops.cross_entropy(x["logits"], x["target"], reduction="none").sum(),
    "segments": lambda x: percbal_ops.segment_cross_entropy(x["logits"], *segments(x)).loss,
    "linear mean": lambda x: linear_cross_entropy(*rows(x)),
    "linear tokens": lambda x: linear_cross_entropy(*rows(x), reduction="none").sum(),
    "linear segments": level("logits"),
    "linear segments, hidden": level("hidden"),
    "linear segments, head": level("head"),
    "linear logprob": logprob,
}


def step(call: Callable[[Inputs], torch.Tensor], x: Inputs) -> list[torch.Tensor]:
    """The loss and the gradients of all that it depends on."""
    leaves = [x[name] for name in ("hidden", "head", "logits")]
    loss = call(x)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [loss.detach(), *(g for g in grads if g is not None)]


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("call", CALLS)
def test_the_calls_are_valid(call: str) -> None:
    results = step(CALLS[call], inputs("cpu"))
    assert len(results) > 1 and all(x.isfinite().all() for x in results)


@needs_gpu
@pytest.mark.parametrize("call", CALLS)
def test_losses_norms_and_gradients_are_those_of_the_cpu(call: str) -> None:
    ours, expected = (step(CALLS[call], inputs(device)) for device in ("cuda", "cpu"))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-6)


@needs_gpu
@pytest.mark.parametrize("call", [name for name in CALLS if name.startswith("linear")])
def test_where_it_pays_the_host_asks_which_rows_count(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "WORTH_ASKING", 0)
    x = inputs("cuda")
    assert plan.may_ask(x["hidden"], x["head"])
    ours, expected = step(CALLS[call], x), step(CALLS[call], inputs("cpu"))
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-6)


@needs_gpu
@pytest.mark.parametrize("call", CALLS)
def test_nothing_waits_for_the_device(call: str, request: pytest.FixtureRequest) -> None:
    x = inputs("cuda")
    step(CALLS[call], x)  # compiles
    request.getfixturevalue("waiting_is_an_error")
    step(CALLS[call], x)


@needs_gpu
@pytest.mark.parametrize("call", CALLS)
def test_a_captured_graph_repeats_the_step_on_new_values(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "WORTH_ASKING", 0)  # a graph is never asked for
    x = inputs("cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(CALLS[call], x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(CALLS[call], x)
    with torch.no_grad():
        for name in ("hidden", "logits"):
            x[name].mul_(-0.5)
        x["target"].copy_(x["target"].roll(1))
        x["ids"].copy_(x["ids"].roll(1))
    graph.replay()
    for a, b in zip(captured, step(CALLS[call], x), strict=True):
        torch.testing.assert_close(a, b)
