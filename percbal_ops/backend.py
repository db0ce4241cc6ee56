"""Which implementation serves a call: one environment variable, one context manager, one query."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

CUDA_BACKENDS = ("triton", "cuda", "reference")
_chosen = os.environ.get("PERCBAL_BACKEND")


@contextmanager
def use_cuda_backend(name: str) -> Iterator[None]:
    """Serve CUDA tensors by "triton", by "cuda" (the C++ kernel for Hopper where it applies, else
    Triton) or by the plain-torch "reference" inside the block."""
    global _chosen
    before, _chosen = _chosen, _checked(name)
    try:
        yield
    finally:
        _chosen = before


def _checked(name: str) -> str:
    if name not in CUDA_BACKENDS:
        raise ValueError(f"unknown CUDA backend {name!r}; known are {', '.join(CUDA_BACKENDS)}")
    if name == "cuda" and not hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out"):
        raise ValueError(
            "the CUDA backend 'cuda' is not built: it needs nvcc and a CUDA build of torch"
        )
    return name


@functools.cache
def _default() -> str:
    if importlib.util.find_spec("triton") is not None:
        return "triton"
    warnings.warn("percbal_ops: triton is not installed; CUDA calls use plain torch", stacklevel=3)
    return "reference"


def _current() -> str:
    return _checked(_chosen) if _chosen else _default()


def cuda_kernels() -> ModuleType:
    """The module whose functions implement the operators for CUDA tensors."""
    name = _current()
    if name == "reference":
        from percbal_ops import reference

        return reference
    if name == "cuda":
        from percbal_ops.kernels import cuda_cross_entropy

        return cuda_cross_entropy
    from percbal_ops.kernels import cross_entropy

    return cross_entropy


def implementation(op: str, device: str) -> str:
    """Who serves `percbal::<op>` on `device`: on "cpu" "cpp" or "reference"; on "cuda" "triton",
    "cuda" (where its kernel applies) or "reference"."""
    if device == "cuda":
        name = _current()
        return "triton" if name == "cuda" and op != "weighted_cross_entropy" else name
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key(f"percbal::{op}", device.upper())
    return "cpp" if compiled else "reference"
