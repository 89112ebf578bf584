"""YAML and JSON texts as trees that know where each part stood."""
