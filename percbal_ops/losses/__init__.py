"""Cross-entropy and its segment-weighted form from logits, with gradient norms.

May import: torch, checks, dispatch; triton/ when first used. Never: linear, coupling, text.
"""
