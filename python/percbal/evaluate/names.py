"""What the JSON of a diagnosis calls things (docs/diagnose.md). Imports nothing: readers of results
need no torch."""

VERSION = 1  # of `Diagnosis.to_dict`
EXACT = "a_p_exact"  # of an instance, not of its trials
ACCURACIES = ("a", "a_p", "a_r", "a_r_text", "reasoning", "perception_f1", EXACT)
MEANS = ("perception_f1", EXACT)  # of numbers in [0, 1], not of right and wrong
