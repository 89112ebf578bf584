"""Where the balancer meets the registry and the health of instances."""
