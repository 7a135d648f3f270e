"""Signed statements: strict parsing, keys, DSSE envelopes, and the shapes of what is stated."""
