"""Qt item models over the app state.

They hold nothing of their own that the state has.
"""
