"""What every other room speaks of: payloads, failures, retries, identifiers. It knows nobody."""
