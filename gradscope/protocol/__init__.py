"""The language that the app and the engine share. Standard library and numpy only; imports nothing of gradscope."""

PROTOCOL_VERSION = 2
"""Raised whenever a message changes in a way that an older peer would misread."""
