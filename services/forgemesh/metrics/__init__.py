"""What a process measures of itself: instruments, and the catalogue of all that there are. Pure."""
