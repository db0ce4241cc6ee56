"""Data sets that others made, in any form, as one type of row; faults named by file and row.

May import: datasets, PIL. Never: torch, transformers, trainers, tasks.
"""
