"""What a run has left behind, read: snapshots (with the app's history in them, or without) and JSON lines.

Each becomes a `Run`. Nothing is compared here.
"""
