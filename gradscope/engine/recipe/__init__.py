"""What the user brings: the recipe, loading it from a file, checking it, and its loss as a function.

A training under way has no place in here.
"""
