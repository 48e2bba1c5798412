"""Floor 2: device profiles, read from YAML once and immutable after."""
