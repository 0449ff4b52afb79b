"""Modules, parameters and tensors of the user's, asked so that nothing of theirs can hide or break the answer.

Nothing in here knows of a session.
"""
