"""What a trained model can do: diagnosis, sampled evaluation, intervals, coupling of rollouts.

May import: tasks, percbal_ops, torch, transformers. Never: trainers, study, report.
"""
