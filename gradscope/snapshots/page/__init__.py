"""report.html: one page about one moment, made of what the snapshot tells."""
