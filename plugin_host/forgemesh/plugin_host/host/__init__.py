"""The process of one instance: its plugin, its calls, its sessions, and what it says to its supervisor."""
