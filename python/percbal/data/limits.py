"""How large a picture of a data set may be."""

MAX_PIXELS = 64_000_000  # 192 MB decoded; a phone's largest common picture has 50 million
