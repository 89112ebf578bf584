"""An embedded SQLite database, and what is found out about its file."""
