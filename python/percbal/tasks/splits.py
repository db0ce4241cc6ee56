"""Which split a problem may occur in, decided by what its symmetries leave alone.

A task gives a *key* of a problem: a text that stays the same when digits are renamed, vertices are
numbered anew, bars change places. A key belongs to one of thirty parts, and a split is a set of
parts, so two splits with no part in common share no problem, not even in disguise, for any seeds.
"""

from __future__ import annotations

import hashlib

PARTS = 30
SPLITS = {  # "train" is "train_sft" and "train_rl" together
    "train": range(5, 30),
    "test": range(5),
    "train_sft": range(5, 10),
    "train_rl": range(10, 30),
}


def check_split(split: str) -> None:
    """ValueError that names the splits."""
    if split not in SPLITS:
        raise ValueError(f"the split of a task is one of {', '.join(SPLITS)}, got {split!r}")


def in_split(key: str, split: str) -> bool:
    """Whether problems with this key belong to the split."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % PARTS in SPLITS[split]
