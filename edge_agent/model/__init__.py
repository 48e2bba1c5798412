"""Floor 0: the project's own words. Imports nothing of ours, does no I/O."""
