"""What people do to executions."""
