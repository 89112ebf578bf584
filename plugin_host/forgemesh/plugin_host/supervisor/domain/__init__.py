"""What a supervised plugin host is, and how it changes."""
