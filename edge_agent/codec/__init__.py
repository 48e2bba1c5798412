"""Floor 1: pure translation between what devices and people write and the agent's own words."""
