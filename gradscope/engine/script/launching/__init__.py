"""A script from its first line to its last: running it as Python would, how it ends, what its traceback would be.

Nothing here imports torch: the script does, when it wants to.
"""
