"""A model and its processor: loading, adapters, the output head, checkpoints, a tiny one.

May import: torch, transformers, accelerate, peft, TRL's utilities. Never: trainers, tasks, rewards,
objective.
"""
