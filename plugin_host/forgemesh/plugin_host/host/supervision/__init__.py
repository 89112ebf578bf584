"""The link to the supervisor that started this host, and the end of a host without one."""
