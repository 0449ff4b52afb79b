"""What keeps the app alive and honest: crash files, our own bugs, signals, garbage."""
