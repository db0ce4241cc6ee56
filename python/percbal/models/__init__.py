"""A model and its processor: loading, adapters, the output head, checkpoints, a tiny one.

May import: torch, transformers, peft, percbal_ops. Never: trainers, tasks, rewards, objective.
"""
