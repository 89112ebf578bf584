"""The balancer: the health of every instance, told to callers who then pick for themselves."""
