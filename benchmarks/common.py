"""One table and one CSV writer for every benchmark: no number without its machine and its formula.

A row says what ran, how long it took, how many bytes it must move at least (with the formula
beside it), and which share of a plain copy's bandwidth, measured in the same run, that is.
"""

from __future__ import annotations

import csv
import datetime
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
QUICK = os.environ.get("PERCBAL_BENCH", "") == "quick"


@dataclass
class Row:
    """One measurement. Times in milliseconds: the least, because other work only ever adds."""

    benchmark: str
    work: str  # what is computed, e.g. "plain, forward + backward"
    who: str  # whose implementation
    shape: str
    dtype: str
    ms: float | None  # None: skipped, and `note` says why
    ms_median: float | None = None
    bytes: int | None = None  # that any implementation has to move
    bytes_formula: str = ""
    share_of_copy: float | None = None  # bandwidth by `bytes` / bandwidth of a copy in this run
    peak_extra_bytes: int | None = None
    note: str = ""


def device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else ():
        if line.startswith("model name"):
            name = line.split(":", 1)[1].strip()
            break
    return f"{name}, {torch.get_num_threads()} threads"


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def commit() -> str:
    """The checked-out commit, with a + where files differ from it; "unknown" without a checkout or
    without git, for which no measurement is thrown away."""

    def git(*args: str) -> str:
        where = Path(__file__).parent
        try:
            result = subprocess.run(["git", *args], cwd=where, capture_output=True, text=True)
        except OSError:
            return ""
        return result.stdout.strip() if result.returncode == 0 else ""

    dirty = git("status", "--porcelain", "--untracked-files=no", "--", "../csrc", "../percbal_ops")
    name = git("rev-parse", "--short", "HEAD")
    return name + ("+" if dirty else "") if name else "unknown"


def environment() -> dict[str, str]:
    return {
        "device": device_name(),
        "torch": torch.__version__,
        "triton": version("triton"),
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        # other work on the machine makes every time longer, and those of many threads most
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Median and its 95% interval by order statistics; the whole range of fewer than six."""
    ordered, n = sorted(values), len(values)
    skipped, left = 0, 0.5**n
    while left <= 0.025 and skipped < n // 2:
        skipped += 1
        left += math.comb(n, skipped) * 0.5**n
    at = max(skipped - 1, 0)
    return statistics.median(ordered), ordered[at], ordered[n - 1 - at]


def gigabytes_per_second(row: Row) -> float | None:
    return None if row.bytes is None or not row.ms else row.bytes / row.ms * 1e-6


def write_csv(rows: Sequence[Row], name: str) -> Path:
    """results/<name>.csv, one line per row, every line with the environment.

    Lines of earlier runs stay where this run has no row of the same key, so that a part can be
    measured again alone.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    lines = {}
    if path.exists():
        with path.open(newline="") as file:
            lines = {_key(line): line for line in csv.DictReader(file)}
    where = environment()
    for row in rows:
        line = asdict(row) | {"gb_per_s": gigabytes_per_second(row)}
        lines[_key(line)] = _rounded(line) | where
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)] + ["gb_per_s", *where])
        writer.writeheader()
        writer.writerows(lines.values())
    return path


def _key(line: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(line[k] for k in ("benchmark", "work", "who", "shape", "dtype"))


def _rounded(values: dict[str, object]) -> dict[str, object]:
    return {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in values.items()}


def print_table(rows: Sequence[Row]) -> None:
    where = environment()
    print("\n" + " | ".join(f"{key} {value}" for key, value in where.items()))
    print(
        f"{'work':34} {'shape':>12} {'dtype':>9} {'who':>16} {'ms':>9} {'GB/s':>7} {'of copy':>8}"
    )
    for row in rows:
        rate, share = gigabytes_per_second(row), row.share_of_copy
        print(
            f"{row.work:34} {row.shape:>12} {row.dtype:>9} {row.who:>16} "
            f"{'skipped' if row.ms is None else f'{row.ms:.3f}':>9} "
            f"{'' if rate is None else f'{rate:.1f}':>7} "
            f"{'' if share is None else f'{share:.0%}':>8} {row.note}"
        )
