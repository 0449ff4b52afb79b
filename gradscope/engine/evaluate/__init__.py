"""Expressions that a person has evaluated in the stopped training: the console, and the list of watched expressions.

Everything is put back after them by `aside`, unless the person wants what they have changed. No condition of a stop is
evaluated here: those are parsed, never run.
"""
