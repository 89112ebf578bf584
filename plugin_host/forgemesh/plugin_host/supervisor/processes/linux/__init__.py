"""The runner on Linux, by pidfd, /proc, pipes whose size can be set, and control groups where there are some."""
