"""The subscription to the balancer: snapshots, permits and load one way, outcomes the other."""
