"""A host as a server: its port and its services over gRPC."""
