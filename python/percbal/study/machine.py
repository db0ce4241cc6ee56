"""Where a run was made: the processor, what it can do, and the versions of the software."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import percbal
import percbal_ops

# of x86 and of ARM: those that choose how torch and percbal_ops compute
FLAGS = (
    "sse4_2 avx avx2 fma f16c avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 "
    "amx_bf16 asimd sve sve2 bf16"
).split()
SOFTWARE = ("torch", "transformers", "trl", "numpy", "percbal")


@cache
def machine() -> dict[str, Any]:
    """``processor`` by its name, its ``flags``, and its cores."""
    told = _cpuinfo()
    flags = (told.get("flags") or told.get("Features") or "").split()
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "flags": " ".join(flag for flag in FLAGS if flag in flags),
        "cores": os.cpu_count(),
    }


def made_here(threads: int) -> dict[str, Any]:
    """What a line says of where and when: ``machine`` with the threads of the job, ``versions``,
    ``day``."""
    return {
        "machine": machine() | {"threads": threads},
        "versions": versions(),
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def kind_of(made: dict[str, Any]) -> list[Any]:
    """What must be equal for a run to repeat bit for bit: processor, flags, threads and torch."""
    told = [made["machine"].get(name) for name in ("processor", "flags", "threads")]
    return [*told, made["versions"].get("torch")]


def same_kind(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two lines were made on such equal machines, each on one kind alone."""
    mixed = one["machine"].get("also") or other["machine"].get("also")
    return kind_of(one) == kind_of(other) and not mixed


@cache
def versions() -> dict[str, str]:
    """Of what computes; ``sources`` is the hash of percbal's own, in which a version goes on."""
    found = {"python": platform.python_version(), "sources": _sources()}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _sources() -> str:
    """Of all Python files of the packages."""
    found = hashlib.sha256()
    for package in (percbal, percbal_ops):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Of the first processor; {} where there is no such file."""
    if not path.exists():
        return {}
    lines = path.read_text().split("\n\n")[0].splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
