"""What other training engines load of percbal. Nothing here is imported by the rest of it.

May import: segments, responses, percbal_ops, the engine. Never: trainers, tasks.
"""
