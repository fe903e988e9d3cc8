"""The machines tinyc compiles for: one TOML file each, and what builds and runs code for them."""

from tinyc.targets.target import Region, Target, load_target, target_names

__all__ = ["Region", "Target", "load_target", "target_names"]
