"""Looking at executions."""
