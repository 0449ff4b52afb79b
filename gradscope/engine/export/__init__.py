"""What goes into a snapshot, file by file: planned first, so that its size is known, and written then.

The formats are those of `snapshots`; nothing in here knows how a file is laid out.
"""
