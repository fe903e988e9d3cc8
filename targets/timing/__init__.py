"""Cycles by core: one TOML table each, and the rules of each microarchitecture family."""
