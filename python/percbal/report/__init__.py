"""HTML and plots of what was measured.

May import: study, evaluate, tasks, data, matplotlib, jinja2. Never: trainers; what makes the page
of a diagnosis (diagnosis.py and what it imports) needs no torch either.
"""
