"""The command `forgemesh`."""
