"""The charts, one a file.

Where they stand beside each other is not known in here.
"""
