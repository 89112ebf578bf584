"""What this process uses and how busy it is: memory, load, its event loop, its health."""
