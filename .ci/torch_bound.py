"""Which versions of torch percbal takes, read from the dependencies in pyproject.toml.

`torch_bound.py` prints them as pip takes them; `torch_bound.py --here` exits with 0 if this Python
has such a torch, and with 1 if not; `torch_bound.py --torchvision` prints the one of this torch;
`torch_bound.py --needs` prints what tests need beside torch and torchvision.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
BOUND = next(need for need in PROJECT["dependencies"] if need.startswith("torch>="))


def minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def inside(version: str) -> bool:
    low, high = re.fullmatch(r"torch>=([\d.]+),<([\d.]+)", BOUND).groups()
    return minor(low) <= minor(version) < minor(high)


def torchvision_of(version: str) -> str:
    """torch 2.13.0 goes with torchvision 0.28.0, 2.12.1 with 0.27.1, and so on."""
    _, minor, patch = re.match(r"(2)\.(\d+)\.(\d+)", version).groups()
    return f"torchvision==0.{int(minor) + 15}.{patch}"


def needs(extras: tuple[str, ...] = ("test", "bench", "dev")) -> list[str]:
    """What these extras ask for, percbal's own extras among them resolved."""
    found = [need for need in PROJECT["dependencies"] if need != BOUND]
    for need in (need for extra in extras for need in PROJECT["optional-dependencies"][extra]):
        own = re.fullmatch(r"percbal\[(.*)\]", need)
        found += needs(tuple(own[1].split(","))) if own else [need]
    return [need for need in dict.fromkeys(found) if not need.startswith("torchvision")]


def torch_here() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return inside(torch.__version__)


if __name__ == "__main__":
    if "--here" in sys.argv:
        sys.exit(not torch_here())
    elif "--torchvision" in sys.argv:
        import torch

        print(torchvision_of(torch.__version__))
    elif "--needs" in sys.argv:
        print(*needs(), sep="\n")
    else:
        print(BOUND)
