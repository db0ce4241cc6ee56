"""The end of a rehearsal: each step's time and limit, what waits for a GPU, and what failed.

python benchmarks/gpu/rehearsal.py facts.jsonl      # status 1 where something failed
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu.facts import lines  # noqa: E402


def limits(script: str) -> tuple[int, int]:
    """Seconds that a script's steps may take together, and those that it promises."""
    text = (Path(__file__).parent / f"{script}.sh").read_text()
    steps = re.findall(r"^step \w+ (\d+) ", text, re.MULTILINE)
    (minutes,) = re.findall(rf"^begin {script} (\d+) ", text, re.MULTILINE)
    return sum(map(int, steps)), 60 * int(minutes)


def summary(path: Path) -> tuple[list[str], bool]:
    """Lines to print, and whether anything failed."""
    found = list(lines(path))
    steps = [line for line in found if line["part"] == "steps"]
    said = [f"{line['key']:20} {line['seconds']:>4} s, status {line['status']}" for line in steps]
    for script in ("quick", "full"):
        said.append("{}: the limits add up to {} of {} s".format(script, *limits(script)))
    waiting = [line for line in found if "needs_gpu" in line]
    said += ["", f"{len(waiting)} facts need a GPU:"]
    said += [f"  {line['part']}: {line['key']}: {line['needs_gpu']}" for line in waiting]
    failed = [line for line in found if "error" in line or "failed" in line]
    failed += [line for line in steps if line["status"] != 0]
    said += ["", f"{len(failed)} failed:"]
    said += [f"  {line['part']}: {line['key']}" for line in failed]
    return said, bool(failed)


if __name__ == "__main__":
    text, wrong = summary(Path(sys.argv[1]))
    print("\n".join(text))
    sys.exit(int(wrong))
