"""The machine and the versions that every other line was measured with: $RESULTS/facts.jsonl."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

import torch
from common import commit, version

import percbal_ops  # noqa: F401  registers the operators that are looked for
from gpu.facts import REHEARSAL, Facts, Found

PACKAGES = ("torch", "triton", "transformers", "trl", "accelerate", "numpy") + (
    "liger-kernel", "cut-cross-entropy", "quack-kernels", "nvidia-cutlass-dsl",
)  # fmt: skip


def machine() -> Found:
    found: Found = {
        "python": platform.python_version(),
        "commit": os.environ.get("COMMIT") or commit(),  # a copy of the files has no git
        "cuda": torch.version.cuda,
        "cuda_operators": hasattr(torch.ops.percbal_cuda, "weighted_cross_entropy_out"),
        "versions": {name: version(name) for name in PACKAGES},
        "tools": [x for x in ("nvcc", "ncu", "compute-sanitizer", "git") if shutil.which(x)],
    }
    if REHEARSAL:
        return found
    card = torch.cuda.get_device_properties(0)
    asked = "driver_version,clocks.sm,clocks.mem,power.limit"
    said = subprocess.run(
        ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"],
        capture_output=True,
        text=True,
    )
    return found | {
        "device": card.name,
        "capability": f"{card.major}.{card.minor}",
        "multiprocessors": card.multi_processor_count,
        "memory_gb": round(card.total_memory / 1e9, 1),
        "l2_mb": round(card.L2_cache_size / 1e6, 1),
        asked: said.stdout.strip(),
    }


if __name__ == "__main__":
    # anew in every run: the commit may be another
    Facts("machine").write({"key": "machine", **machine()})
