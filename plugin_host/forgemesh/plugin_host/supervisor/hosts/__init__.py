"""One instance: run for as long as it is wanted, process after process."""
