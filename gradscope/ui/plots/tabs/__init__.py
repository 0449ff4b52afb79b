"""The tabs with plots: which charts are in each, and what they share.

Nothing in here draws.
"""
