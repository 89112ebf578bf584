"""The registry at work: changes, events, providers, and what it noticed of those who register."""
