"""The local trace store: takes spans over OTLP, keeps them in SQLite, gives traces back."""
