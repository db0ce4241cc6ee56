"""How a response is written and asked for: spans (the one rule of what a tagged span is), formats
(other ways to mark the parts, by option), prompt (what a model is asked), copied (an answer inside
the perception).

May import: the standard library. Never: torch, transformers, TRL, trainers, tasks, rewards.
"""
