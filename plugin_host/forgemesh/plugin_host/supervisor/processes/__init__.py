"""Processes on Linux: started, watched, bounded, their output read, and ended with all that they started."""
