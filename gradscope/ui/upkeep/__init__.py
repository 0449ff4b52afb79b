"""What keeps the app alive and honest: crash files, our own bugs, signals, garbage.

Nothing in here knows what is shown.
"""
