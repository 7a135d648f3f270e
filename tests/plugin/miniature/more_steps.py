"""Steps that one test adds."""
