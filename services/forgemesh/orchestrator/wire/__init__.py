"""Payloads and failures as messages, for every room that talks to another process."""
