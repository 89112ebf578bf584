"""The link to one incarnation of a plugin instance."""
