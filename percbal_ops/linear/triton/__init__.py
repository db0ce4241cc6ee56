"""Triton kernels of a language-model head. Imports losses/triton's maths of a row."""
