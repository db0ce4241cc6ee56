"""Files that others made: lines of JSON, rows of messages, images; faults named by file and row.

May import: datasets, PIL. Never: torch, transformers, trainers, tasks.
"""
