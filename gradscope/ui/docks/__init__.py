"""The panels around the workspace, one file a dock.

Parts that are large enough for a file of their own have folders: `inspector`, `training`, `models`.
"""
