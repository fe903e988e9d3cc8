"""Instructions that C has no operator for: one file an ISA, each with a plain C twin."""
