"""Edits between two phases of a session: each is applied whole or not at all, and has an exact inverse.

Nothing is changed inside a phase, and nothing in here runs one.
"""
