"""The supervisor's service over gRPC."""
