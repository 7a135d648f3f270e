"""The questions: typed target in, Evidence out."""
