"""report.html: one page about one moment, made of what the snapshot tells.

No scripts, nothing from outside, and no file is read in here.
"""
