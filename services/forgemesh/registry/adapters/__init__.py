"""Where the registry meets the disk and the clock."""
