"""The whole experiment: presets, arms, runner, results, for fine-tuning and reinforcement.

May import: everything below it. Never: cli, adapters.
"""
