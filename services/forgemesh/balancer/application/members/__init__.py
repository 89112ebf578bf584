"""Instances: what the registry is told of their health, what each is worth, and who is left out for a while."""
