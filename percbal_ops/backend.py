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

CUDA_BACKENDS = ("triton", "reference")
_chosen = os.environ.get("PERCBAL_BACKEND")


@contextmanager
def use_cuda_backend(name: str) -> Iterator[None]:
    """Serve CUDA tensors by "triton" or by the plain-torch "reference" inside the block."""
    global _chosen
    before, _chosen = _chosen, _checked(name)
    try:
        yield
    finally:
        _chosen = before


def _checked(name: str) -> str:
    if name not in CUDA_BACKENDS:
        raise ValueError(f"unknown CUDA backend {name!r}; known are {', '.join(CUDA_BACKENDS)}")
    return name


@functools.cache
def _default() -> str:
    if importlib.util.find_spec("triton") is not None:
        return "triton"
    warnings.warn("percbal_ops: triton is not installed; CUDA calls use plain torch", stacklevel=3)
    return "reference"


def cuda_kernels() -> ModuleType:
    """The module whose functions implement the operators for CUDA tensors."""
    if (_checked(_chosen) if _chosen else _default()) == "reference":
        from percbal_ops import reference

        return reference
    from percbal_ops.kernels import cross_entropy

    return cross_entropy


def implementation(op: str, device: str) -> str:
    """Who serves `percbal::<op>` on `device` ("cpu" or "cuda"): "cpp", "triton" or "reference"."""
    if device == "cuda":
        return _checked(_chosen) if _chosen else _default()
    compiled = torch._C._dispatch_has_kernel_for_dispatch_key(f"percbal::{op}", device.upper())
    return "cpp" if compiled else "reference"
