"""Who gets the next call: pure decisions over a snapshot, made by the same code wherever a pick is made."""
