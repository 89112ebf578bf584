"""What people, callers without a subscription and whoever starts instances ask of the balancer."""
