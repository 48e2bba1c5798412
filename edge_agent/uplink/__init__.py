"""Floor 7: the network. Takes events from the outbox and brings them to the cloud; an answer becomes a verdict."""
