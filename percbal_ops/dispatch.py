"""Which implementation serves a call: one environment variable, one context manager, one query.

Names alone: losses/library.py knows the modules behind them.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

CUDA_BACKENDS = ("triton", "cuda", "reference")
CUDA_CPP = ("weighted_cross_entropy", "weighted_cross_entropy_")  # what the C++ kernel serves
SERVED: set[str] = set()  # operators that the chosen backend serves on CUDA
FROM = "PERCBAL_BACKEND"
_chosen = os.environ.get(FROM)


@contextmanager
def use_cuda_backend(name: str) -> Iterator[None]:
    """Serve CUDA tensors by "cuda" (the C++ kernel for Hopper where it applies, else Triton), by
    "triton" alone or by the plain-torch "reference" in the block.

    It chooses for the losses and the token log-probabilities; coupling and agreement have one
    implementation. Default: the environment variable PERCBAL_BACKEND, else "cuda" where that is
    built, "triton" where Triton is installed, "reference". ValueError for another name, or one that
    is not built.
    """
    global _chosen
    before, _chosen = _chosen, _checked(name)
    try:
        yield
    finally:
        _chosen = before


def _checked(name: str) -> str:
    if name not in CUDA_BACKENDS:
        said = f" (from {FROM})" if name == os.environ.get(FROM) else ""
        known = ", ".join(CUDA_BACKENDS)
        raise ValueError(f"unknown CUDA backend {name!r}{said}; known are {known}")
    if name == "cuda" and not _cuda_is_built():
        raise ValueError(
            "the CUDA backend 'cuda' is not built: it needs nvcc and a CUDA build of torch"
        )
    return name


def _cuda_is_built() -> bool:
    return hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out")


@functools.cache
def _default() -> str:
    if importlib.util.find_spec("triton") is not None:
        return "cuda" if _cuda_is_built() else "triton"
    warnings.warn("percbal_ops: triton is not installed; CUDA calls use plain torch", stacklevel=3)
    return "reference"


def cuda_backend() -> str:
    """One of CUDA_BACKENDS: what serves CUDA tensors now."""
    return _checked(_chosen) if _chosen else _default()


def triton_or(plain: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """Calls `name`, an operator, of a module of Triton kernels, or `plain` where that is chosen.
    The module is imported when first used: Triton takes a while."""
    SERVED.add(name)

    def run(*args: Any) -> Any:
        if cuda_backend() == "reference":
            return plain(*args)
        return getattr(importlib.import_module(module), name)(*args)

    return run


def implementation(op: str, device: str) -> str:
    """Which implementation serves ``torch.ops.percbal.<op>``, such as "weighted_cross_entropy".

    device: "cpu" or "cuda". Returns on the CPU "cpp" or "reference"; on CUDA "triton", "cuda" (C++;
    of the cross-entropies on Hopper, where its kernel applies) or "reference". ValueError for
    another device or operator.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")
    if not isinstance(getattr(torch.ops.percbal, op, None), torch._ops.OpOverloadPacket):
        raise ValueError(
            "op must be an operator of torch.ops.percbal, such as weighted_cross_entropy, got "
            f"{op!r}"
        )
    if device == "cuda" and op in SERVED:
        name = cuda_backend()
        return "triton" if name == "cuda" and not (op in CUDA_CPP and _on_hopper()) else name
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key(f"percbal::{op}", device.upper())
    return {"cpu": "cpp", "cuda": "cuda"}[device] if compiled else "reference"


def _on_hopper() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] == 9
