"""The language that the app and the engine share. Standard library and numpy only; imports nothing of gradscope.

What a message does is not known in here: only what it may hold, and who may answer it.
"""

PROTOCOL_VERSION = 5
"""Raised whenever a message changes in a way that an older peer would misread."""
