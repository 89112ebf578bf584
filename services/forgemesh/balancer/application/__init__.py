"""The balancer at work."""
