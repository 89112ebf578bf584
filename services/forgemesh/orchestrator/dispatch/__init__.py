"""One call on its way to a plugin instance and back."""
