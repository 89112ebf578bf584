"""Processes of hosts: what is asked of a system (`runner`), what they write, and how they end; `linux` does it."""
