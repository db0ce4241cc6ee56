"""A number for a text, the same in every process."""

from __future__ import annotations

import hashlib


def text_key(text: str) -> int:
    """63 bits of a hash of the words of ``text``: space around and between them does not count.

    Two different texts of one group share a key with probability 1e-19.
    """
    words = " ".join(text.split()).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big") >> 1
