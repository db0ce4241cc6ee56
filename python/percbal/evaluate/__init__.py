"""What a trained model can do: diagnosis, sampled evaluation, intervals, saved rollouts.

May import: tasks, responses, data, models, percbal_ops, torch, transformers. Never: trainers,
study, report.
"""
