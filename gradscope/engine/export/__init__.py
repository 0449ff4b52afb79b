"""What goes into a snapshot, file by file: planned first, so that its size is known, and written then."""
