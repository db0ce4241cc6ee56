"""Small tokenizers of the families' real classes: byte-level BPE, and BPE as in sentencepiece."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GemmaTokenizer, LlamaTokenizer, PreTrainedTokenizerBase

# Merges cross word and tag borders as those of real vocabularies do; bytes carry everything else.
CORPUS = [
    "<perception> red green blue yellow white black grey </perception>",
    "<perception>\nrow 1: red green\nrow 2: blue yellow\n</perception>\n",
    "<reasoning> There are 2 red squares and 1 blue one, so the answer is 2. </reasoning>",
    "<answer> 12 </answer> Which colours are in the picture? Look at the grid and say.",
    "Let me look: the first row is red, the second row is green.\nSo the sum is 30.",
]
Merges = list[tuple[str, str]]


def byte_level(size: int = 400) -> tuple[dict[str, int], Merges]:
    """Vocabulary and merges of a BPE over bytes, as Qwen's, Llama 3's and SmolLM's."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    options: dict[str, Any] = {"show_progress": False, "initial_alphabet": alphabet}
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, **options))
    return _parts(trained)


def sentencepiece_like(first: Sequence[str], size: int = 240) -> tuple[dict[str, int], Merges]:
    """Vocabulary and merges of a BPE over characters with "▁" for a space; other characters fall
    back to the 256 tokens of their bytes.

    first: the special tokens, which come before the bytes.
    """
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    options: dict[str, Any] = {"show_progress": False, "initial_alphabet": [*string.printable[:94]]}
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, **options))
    words, merges = _parts(trained)
    tokens = [*first, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(words, key=words.get)]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges


def _parts(trained: Tokenizer) -> tuple[dict[str, int], Merges]:
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def qwen_like(kind: type, special: Sequence[str], **options: Any) -> PreTrainedTokenizerBase:
    """A Qwen2Tokenizer, or another class that takes a byte-level vocabulary and merges."""
    vocab, merges = byte_level()
    tokenizer = kind(vocab=vocab, merges=merges, **options)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def llama_like(special: Sequence[str], **options: Any) -> LlamaTokenizer:
    """Llama 2's kind: a space before the text, and <s> put first by the tokenizer itself."""
    vocab, merges = sentencepiece_like(["<unk>", "<s>", "</s>"])
    tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True, **options)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def gemma_like(special: Sequence[str], **options: Any) -> GemmaTokenizer:
    """Gemma's kind: no space before the text, and <bos> put first by the tokenizer itself."""
    vocab, merges = sentencepiece_like(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True, **options)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def byte_level_with_bos(kind: type, bos: str, special: Sequence[str], **options: Any) -> Any:
    """Llama 3's and Tekken's kind: byte-level, with a first token that the backend adds."""
    vocab, merges = byte_level()
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False))
    backend.add_special_tokens([bos, *special])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, len(vocab))]
    )
    return kind(tokenizer_object=backend, bos_token=bos, **options)
