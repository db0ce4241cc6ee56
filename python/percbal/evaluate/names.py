"""What the JSON of a diagnosis calls things (docs/diagnose.md). Imports nothing: readers of results
need no torch."""

VERSION = 1  # of `Diagnosis.to_dict`
EXACT = "a_p_exact"  # of an instance, not of its trials
MEANING = {  # of every accuracy
    "a": "right answers from the image",
    "a_p": "images seen right",
    "a_r": "right answers, told what is shown",
    "a_r_text": "right answers from a text of what the image shows, without it",
    "reasoning": "answers right for what the response says it saw",
    "perception_f1": "share of the parts that are seen right",
    EXACT: "probability of the true perception, word for word",
}
ACCURACIES = tuple(MEANING)
METRICS = ("a", "a_p", "a_r")  # those of the paper
RIGHT, PERCEPTION, REASONING, BOTH = "right", "perception", "reasoning", "both"
FORMAT, UNCLEAR = "format", "unclear"
ERRORS = (RIGHT, PERCEPTION, REASONING, BOTH, FORMAT, UNCLEAR)  # which error a response has
MEANS = ("perception_f1", EXACT)  # of numbers in [0, 1], not of right and wrong
