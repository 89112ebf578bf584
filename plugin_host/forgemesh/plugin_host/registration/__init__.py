"""The registration of one instance, for whoever keeps it: a host for itself, a supervisor for programs that cannot."""
