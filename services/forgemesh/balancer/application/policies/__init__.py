"""What people rule for the calls of plugins."""
