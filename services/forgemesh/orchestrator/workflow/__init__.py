"""What a workflow is and how its text is read. It knows nobody who runs one."""
