"""How a response is written: spans (the one rule of what a span is), copied (an answer inside the
perception).

May import: the standard library. Never: torch, transformers, TRL, trainers, tasks, rewards.
"""
