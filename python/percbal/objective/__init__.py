"""The paper's rules as pure functions: segment weights, credit, the weight of perception's reward.

May import: torch, segments, TRL's own statistics. Never: transformers, trainers, tasks.
"""
