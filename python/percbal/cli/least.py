"""Numbers that an option can have."""

from __future__ import annotations

import argparse


def check_least(args: argparse.Namespace, least: int, *names: str) -> None:
    """ValueError for an option that is given and less, or no number at all."""
    for name in names:
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
