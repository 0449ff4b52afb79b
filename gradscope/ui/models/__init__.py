"""Qt item models over the app state."""
