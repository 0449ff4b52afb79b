"""Snapshots as files: what is in them and how they are read and shown. Standard library and numpy; no torch, no Qt.

No session and no window: whoever writes or shows one brings them.
"""
