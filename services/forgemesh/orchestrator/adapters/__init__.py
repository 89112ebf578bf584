"""The world outside: SQLite, CEL, YAML, sessions with plugin hosts, the balancer, the registry, traces."""
