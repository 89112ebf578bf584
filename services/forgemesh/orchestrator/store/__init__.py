"""Definitions, histories and schedules as they are kept."""
