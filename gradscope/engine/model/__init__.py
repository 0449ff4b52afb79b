"""Modules, parameters, tensors, optimizers and losses of the user's, asked so that nothing of theirs can break the answer.

Nothing in here knows of a session.
"""
