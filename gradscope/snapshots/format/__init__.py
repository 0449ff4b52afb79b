"""The files of a snapshot: their names, what is in each, and whatever can be wrong with it.

Nothing in a file is ever executed.
"""
