"""What other engines load of percbal: verl, Inspect AI. Nothing here is imported by the rest of it.

May import: segments, responses, percbal_ops, the engine; for Inspect AI also tasks and evaluate.
Never: trainers.
"""
