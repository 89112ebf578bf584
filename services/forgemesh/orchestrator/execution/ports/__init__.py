"""What executions ask to be kept, by subject."""
