"""Memory of the CPU losses: how much a call takes, and the block kept for the next gradient."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from percbal_ops import (
    cross_entropy,
    empty_cache,
    implementation,
    linear_segment_cross_entropy,
    segment_cross_entropy,
)

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is kept on Linux only"),
    pytest.mark.skipif(
        implementation("weighted_cross_entropy", "cpu") != "cpp", reason="needs the C++ operators"
    ),
]
ROWS, VOCAB = 96, 50257  # 19 MB of fp32, rows not aligned to anything
BYTES = ROWS * VOCAB * 4
HUGE_PAGE = 2 << 20


@pytest.fixture(autouse=True)
def nothing_kept():
    empty_cache()
    yield
    empty_cache()


def make(seed: int = 0, rows: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, VOCAB, generator=g).requires_grad_()
    return logits, torch.randint(0, VOCAB, (rows,), generator=g)


def gradient(seed: int = 0, rows: int = ROWS) -> torch.Tensor:
    logits, target = make(seed, rows)
    return torch.autograd.grad(cross_entropy(logits, target), logits)[0]


def peak_extra(run: Callable[[], object]) -> int:
    """Bytes of resident memory that `run` adds at its peak."""
    clear = Path("/proc/self/clear_refs")
    if not os.access(clear, os.W_OK):
        pytest.skip("the system does not let a process reset its high-water mark")

    def resident(field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(s for s in lines if s.startswith(field)).split()[1]) * 1024

    gc.collect()
    clear.write_text("5")
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


@pytest.mark.parametrize("loss", ["plain", "segments"])
def test_a_step_takes_one_copy_of_the_logits_and_no_more(loss):
    logits, target = make()

    def step():
        if loss == "plain":
            cross_entropy(logits, target).backward()
        else:
            ids, weights = torch.arange(ROWS) % 2, torch.tensor([0.3, 0.7])
            segment_cross_entropy(logits, target, ids, weights).loss.backward()
        logits.grad = None

    step()  # what is loaded and compiled on first use
    empty_cache()
    assert BYTES <= peak_extra(step) <= BYTES + HUGE_PAGE + (1 << 20)
    assert peak_extra(step) < 1 << 20, "the memory of the first step serves the second"


def test_the_next_gradient_takes_the_memory_of_the_last():
    address = gradient(0).data_ptr()
    second = gradient(1)
    assert second.data_ptr() == address
    assert torch.equal(second, gradient(1)), "old values do not show"


def test_a_gradient_that_lives_is_never_written():
    first = gradient(0)
    kept = first.clone()
    view = first[3:5, 7:]
    del first
    others = [gradient(seed) for seed in range(1, 4)]
    assert torch.equal(view, kept[3:5, 7:])
    assert len({x.data_ptr() for x in others}) == 3


def test_at_most_one_block_is_kept_the_largest():
    large, small = gradient(rows=ROWS), gradient(rows=ROWS // 2)
    del small, large
    assert BYTES <= empty_cache() < BYTES + HUGE_PAGE
    large, small = gradient(rows=ROWS), gradient(rows=ROWS // 2)
    del large, small
    assert BYTES <= empty_cache() < BYTES + HUGE_PAGE
    assert empty_cache() == 0


def test_a_smaller_gradient_uses_the_larger_block_and_a_larger_one_replaces_it():
    address = gradient(rows=ROWS).data_ptr()
    assert gradient(rows=ROWS // 2).data_ptr() == address
    assert gradient(rows=2 * ROWS).shape == (2 * ROWS, VOCAB)
    assert empty_cache() >= 2 * BYTES


def test_the_system_may_take_the_pages_of_the_waiting_block():
    def lazily_free() -> int:
        lines = Path("/proc/self/smaps").read_text().splitlines()
        return sum(int(s.split()[1]) * 1024 for s in lines if s.startswith("LazyFree:"))

    grad = gradient()
    before = lazily_free()
    del grad
    assert lazily_free() - before >= BYTES


def test_the_gradient_is_a_tensor_like_any_other(tmp_path):
    grad = gradient()
    values = grad.clone()
    torch.save(grad, tmp_path / "grad.pt")
    assert torch.equal(torch.load(tmp_path / "grad.pt"), values)
    assert (grad.numpy() == values.numpy()).all()
    assert torch.equal(grad.mul_(2), 2 * values)
    assert grad.resize_(3, 5).shape == (3, 5)
    grad.resize_(ROWS, VOCAB)
    with pytest.raises(RuntimeError, match="storage that is not resizable"):  # as from_numpy's
        grad.view(-1).resize_(BYTES)
    with pytest.raises(RuntimeError, match="storage that is not resizable"):
        grad.untyped_storage().resize_(0)
    logits, target = make()
    logits.grad = grad
    cross_entropy(logits, target).backward()
    torch.testing.assert_close(logits.grad, 3 * values)


def _add_one(queue, back):
    grad = queue.get()
    grad += 1
    back.put("done")


def test_the_gradient_can_be_shared_with_another_process():
    grad = gradient()
    values = grad.clone()
    context = mp.get_context("spawn")
    queue, back = context.Queue(), context.Queue()
    worker = context.Process(target=_add_one, args=(queue, back))
    worker.start()
    queue.put(grad)  # moves it to shared memory
    assert back.get(timeout=60) == "done"
    worker.join()
    assert grad.is_shared() and torch.equal(grad, values + 1)


def test_many_threads_get_memory_of_their_own():
    expected = [gradient(seed) for seed in range(4)]
    wrong = []

    def work(seed: int) -> None:
        for _ in range(5):
            if not torch.equal(gradient(seed), expected[seed]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def in_a_new_process(code: str, **environment: str) -> str:
    setup = """
        import os, torch
        from percbal_ops import cross_entropy, empty_cache
        torch.set_num_threads(1)  # a forked child has only the thread that forked
        x = torch.randn(64, 50257, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = torch.arange(64)
        def gradient():
            return torch.autograd.grad(cross_entropy(x, y), x)[0]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(setup) + textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_switch_turns_it_off():
    code = "g = gradient(); del g; print(empty_cache())"
    assert in_a_new_process(code, PERCBAL_KEEP_MEMORY="0") == "0\n"
    assert int(in_a_new_process(code)) > 0


@pytest.mark.parametrize("alive", [True, False], ids=["in use", "waiting"])
def test_a_forked_child_and_its_parent_do_not_disturb_each_other(alive):
    code = f"""
        grad = gradient()
        values = grad.clone()
        if not {alive}:
            del grad
        child = os.fork()
        if child == 0:
            same = torch.equal(grad, values) if {alive} else True
            os._exit(0 if same and torch.equal(gradient(), values) else 1)
        right = torch.equal(gradient(), values)
        assert os.waitpid(child, 0)[1] == 0, "the child is wrong"
        assert right and torch.equal(gradient(), values), "the parent is wrong"
    """
    in_a_new_process(code)


@pytest.mark.parametrize("level", ["logits", "hidden", "head"])
def test_a_loss_from_hidden_states_adds_tiles_to_its_gradients(level):
    """The logits lie in the memory of the head's gradient, docs/linear.md."""
    features = 256  # as many as rows: 51 MB of logits
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(features, features, generator=g).requires_grad_()
    head = torch.randn(VOCAB, features, generator=g).requires_grad_()
    target = torch.randint(0, VOCAB, (features,), generator=g)
    ids, weights = torch.arange(features) % 2, torch.tensor([0.3, 0.7])

    def step():
        out = linear_segment_cross_entropy(hidden, head, target, ids, weights, grad_norm=level)
        out.loss.backward()
        hidden.grad = head.grad = None

    step()
    results = 4 * (head.numel() + hidden.numel())
    tiles = 3 * 4096 * features * 4
    assert peak_extra(step) <= results + tiles + HUGE_PAGE + (2 << 20) < results + BYTES
