"""How a response is written and asked for: spans (the one rule of what a span is).

May import: the standard library. Never: torch, transformers, TRL, trainers, tasks, rewards.
"""
