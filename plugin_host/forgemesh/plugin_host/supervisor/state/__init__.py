"""What one supervisor leaves in files for the one that comes after."""
