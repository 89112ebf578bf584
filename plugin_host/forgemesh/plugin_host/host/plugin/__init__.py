"""The author's plugin in this process: imported, started, stopped, and kept from what is the host's."""
