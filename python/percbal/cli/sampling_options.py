"""Options that say how completions are drawn."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from percbal.evaluate.sampling import Sampling


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--samples",
        type=int,
        default=1,
        metavar="K",
        help="completions of each instance, for their mean accuracy and pass@k (default: 1)",
    )
    parser.add_argument(
        "--temperature", type=float, help="default: 0, which is greedy; with --samples 1"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw from the likeliest tokens of this share"
    )


def sampling_of(args: argparse.Namespace) -> Sampling:
    """ValueError for what draws nothing."""
    from percbal.evaluate.sampling import Sampling

    return Sampling(args.samples, args.temperature, args.top_p)
