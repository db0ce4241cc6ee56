"""HTML and plots of what was measured.

May import: study's results, evaluate, tasks, matplotlib. Never: trainers.
"""
