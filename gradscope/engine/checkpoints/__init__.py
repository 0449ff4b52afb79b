"""Checkpoint files: what is in them, whether it fits, loading all of it or nothing.

A file is read without executing anything in it.
"""
