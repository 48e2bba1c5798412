"""Floor 5, pure: the only place with the cloud's words."""
