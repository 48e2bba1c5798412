"""A whole simulated house with its devices, broker and cloud: what `edge-agent demo` runs the agent against."""
