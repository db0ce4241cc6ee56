"""HTML and plots of what was measured.

May import: study, evaluate, tasks, matplotlib. Never: trainers.
"""
