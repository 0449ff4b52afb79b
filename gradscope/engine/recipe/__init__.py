"""What the user brings: the recipe, loading it from a file, and checking it.

A training under way has no place in here.
"""
