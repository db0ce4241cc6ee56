"""Disturbs trainings in every way that docs/reliability.md lists, and counts what survived.

``python tests/faults/suite.py [--only NAME] [--disturbance NAME] [--out DIRECTORY]``; run by
``make test-faults``.
What is done is kept in DIRECTORY and not done again. Exit status 1: something did not survive.

Survived means: the final weights are, bit for bit, those of the undisturbed run; or the run is
refused in a sentence that names the file, or the row, at fault.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402  after the path

torch.set_num_threads(1)  # forked processes must find no threads

import processes  # noqa: E402
import ranks  # noqa: E402
import studies  # noqa: E402
import trainings  # noqa: E402
from damages import DAMAGES  # noqa: E402

RANDOM_TIMES = 40
DISK_SIZES = 20


@dataclass
class Case:
    """One disturbance: whether it was survived, and how."""

    name: str
    survived: bool
    how: str


@dataclass
class Bench:
    """Where a kind of training is disturbed, and what it gives undisturbed."""

    kind: str
    root: Path
    digest: str = ""
    events: int = 0
    seconds: float = 0.0

    def fresh(self) -> Path:
        out = self.root / "run"
        shutil.rmtree(out, ignore_errors=True)
        return out

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    def settled(self, name: str, out: Path, *expected: str) -> Case:
        """Go on: what is the end? expected: what a refusal may name."""
        found = processes.run(self.kind, out, log=self.log)
        return self.judged(name, found, *expected)

    def judged(self, name: str, found: processes.Outcome, *expected: str) -> Case:
        if found.how == "ended":
            same = found.said == self.digest
            return Case(name, same, "bit-equal" if same else "other weights")
        named = any(word in found.said for word in expected)
        return Case(name, named and bool(expected), f"refused: {found.said}")


def undisturbed(kind: str, root: Path) -> Bench:
    """Its final weights, file events and seconds."""
    import time

    bench = Bench(kind, root)
    root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    found = processes.run(kind, bench.fresh(), log=bench.log)
    assert found.how == "ended", found.said
    bench.seconds = time.monotonic() - began
    bench.digest = found.said
    bench.events = int(bench.log.with_suffix(".events").read_text())
    return bench


# --- the disturbances --------------------------------------------------------------------------


def kills_at_events(bench: Bench) -> Iterator[Case]:
    for event in range(1, bench.events + 1):
        out = bench.fresh()
        found = processes.run(bench.kind, out, kill_at=event, log=bench.log)
        assert found.how == "killed", found.said
        yield bench.settled(f"event {event}", out)


def kills_at_random_times(bench: Bench) -> Iterator[Case]:
    draw = random.Random(bench.kind)
    for _ in range(RANDOM_TIMES):
        out = bench.fresh()
        after = draw.uniform(0.0, bench.seconds)
        processes.run(bench.kind, out, kill_after=after, log=bench.log)
        yield bench.settled(f"after {after:.2f} s", out)


def damaged_files(bench: Bench) -> Iterator[Case]:
    """Of the newest of two checkpoints, and the same file of both."""
    whole = bench.fresh()
    processes.run(bench.kind, whole, log=bench.log)
    kept = bench.root / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    whole.rename(kept)
    newest, older = (kept / f"checkpoint-{step}" for step in (8, 6))
    names = sorted(str(p.relative_to(newest)) for p in newest.rglob("*") if p.is_file())
    for name in names:
        for damage in DAMAGES:
            for both in (False, True):
                if (newest / name).stat().st_size == 0:
                    continue
                out = bench.fresh()
                shutil.copytree(kept, out)
                for checkpoint in (newest, older)[: 1 + both]:
                    damage(out / checkpoint.name / name)
                where = "both checkpoints" if both else "the newest"
                case = f"{name} {damage.__name__} in {where}"
                yield bench.settled(case, out, *([name] if both else []))


def full_disks(bench: Bench) -> Iterator[Case]:
    """A file system of its own, from too small for one checkpoint to nearly enough for three."""
    disk = bench.root / "disk"
    whole = bench.fresh()
    processes.run(bench.kind, whole, log=bench.log)
    needed = sum(p.stat().st_size for p in whole.rglob("*") if p.is_file())
    if needed == 0:  # which tmpfs takes for no limit
        raise RuntimeError(f"{whole} has no files")
    for number in range(DISK_SIZES):
        size = round(needed * (0.1 + 1.5 * number / DISK_SIZES))
        with studies.small_disk(disk, size) as mounted:
            out = mounted / "run"
            found = processes.run(bench.kind, out, log=bench.log)
            kept = bench.fresh()
            if out.exists():
                shutil.copytree(out, kept)
        if found.how == "ended":
            yield bench.judged(f"{size} bytes", found)
        else:  # what there is of it is gone on from on a larger one
            yield bench.settled(f"{size} bytes", kept)


def bad_pixels(bench: Bench) -> Iterator[Case]:
    """Stopped by name, then gone on from with the pixel mended; under GRPO from the checkpoint
    before, since the stop has drawn random numbers."""
    out = bench.fresh()
    found = processes.run(bench.kind, out, log=bench.log, bad_pixel=True)
    yield bench.judged("a NaN pixel", found, "pixel_values of row")
    if bench.kind in trainings.GRPO:
        shutil.rmtree(out / f"checkpoint-{trainings.BAD_STEP - 1}")
    yield bench.settled("going on without it", out)


def bad_rewards(bench: Bench) -> Iterator[Case]:
    """One that is no number is one that was not scored."""
    if bench.kind not in trainings.GRPO:
        return
    unscored = processes.run(bench.kind, bench.fresh(), log=bench.log, reward=None)
    assert unscored.how == "ended" and unscored.said != bench.digest, unscored.said
    for value in (math.nan, math.inf, -math.inf):
        found = processes.run(bench.kind, bench.fresh(), log=bench.log, reward=value)
        yield replace(bench, digest=unscored.said).judged(f"a reward {value}", found)


DISTURBANCES: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "kill -9 at a file event": kills_at_events,
    "kill -9 at a random time": kills_at_random_times,
    "a damaged file": damaged_files,
    "a full disk": full_disks,
    "a NaN pixel": bad_pixels,
    "a reward that is no number": bad_rewards,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="a kind of training, 'ranks' or 'study'")
    parser.add_argument("--disturbance", choices=DISTURBANCES, help="one alone")
    parser.add_argument("--out", type=Path, default=Path("build/faults"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    trainings.prepare()
    failures = 0
    for kind in trainings.KINDS:
        if args.only in (None, kind):
            failures += _run_kind(kind, args.out, args.disturbance)
    others = (
        ("ranks", "one of two ranks killed", ranks.cases),
        ("study", "Ctrl-C and kill -9", studies.cases),
    )
    for name, disturbance, cases in others:
        if args.only in (None, name) and not args.disturbance:
            failures += _keep(args.out, name, disturbance, cases(args.out / name))
    subprocess.run([sys.executable, HERE / "page.py", args.out], check=True)
    sys.exit(1 if failures else 0)


def _run_kind(kind: str, out: Path, only: str | None) -> int:
    names = [only] if only else list(DISTURBANCES)
    if all(_path(out, kind, name).exists() for name in names):
        return sum(_bad(_path(out, kind, name)) for name in names)
    bench = undisturbed(kind, out / kind.replace(" ", "_"))
    print(f"{kind}: {bench.events} file events, {bench.seconds:.1f} s", flush=True)
    return sum(_keep(out, kind, name, DISTURBANCES[name](bench)) for name in names)


def _path(out: Path, kind: str, name: str) -> Path:
    return out / f"{kind}, {name}.json".replace(" ", "_")


def _keep(out: Path, kind: str, name: str, cases: Iterator[Case]) -> int:
    """Run them, write them down, and return how many did not survive."""
    path = _path(out, kind, name)
    if path.exists():
        return _bad(path)
    found = []
    for case in cases:
        found.append(case)
        if not case.survived:
            print(f"NOT SURVIVED: {kind}, {name}, {case.name}: {case.how}", flush=True)
    kept = {"kind": kind, "disturbance": name, "cases": [asdict(case) for case in found]}
    path.write_text(json.dumps(kept, indent=1))
    bad = _bad(path)
    print(f"{kind}, {name}: {len(found)} tried, {len(found) - bad} survived", flush=True)
    return bad


def _bad(path: Path) -> int:
    return sum(not case["survived"] for case in json.loads(path.read_text())["cases"])


if __name__ == "__main__":
    main()
