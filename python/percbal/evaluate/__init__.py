"""What a trained model can do: diagnosis, sampled evaluation, intervals, saved rollouts; and the
rewards of the paper's data sets, which join tasks and rewards.

May import: tasks, rewards, responses, data, models, percbal_ops, torch, transformers, TRL's
data_utils. Never: trainers, study, report.
"""
