"""What the balancer concludes from the registry and from health checks, without a wire or a clock."""
