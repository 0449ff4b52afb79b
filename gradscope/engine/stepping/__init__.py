"""The driver of a recipe: the bodies of the three phases, and the undoing of each.

What was seen is written down in the book; what is asked or changed between two phases has folders of its own.
"""
