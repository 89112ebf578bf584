"""The pure heart: what a workflow is, how its state follows from its events, what has to happen next."""
