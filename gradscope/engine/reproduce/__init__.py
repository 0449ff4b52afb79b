"""A plain PyTorch script that comes to where a session stands, without gradscope.

Only the writing of it: what the training does is asked of the recipe, its edits and its place.
"""
