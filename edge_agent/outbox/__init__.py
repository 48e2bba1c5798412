"""Floor 6: the disk. Typed events wait here until the cloud has them; nothing here knows the network."""
