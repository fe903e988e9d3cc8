"""Runs images on emulated cores and prices them: Unicorn, a native counter, timing tables."""
