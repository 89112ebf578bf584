"""Who may start now, by what needs what. It knows no process."""
