"""What is hosted: parts of a stack that somebody else runs, reached by their APIs."""
