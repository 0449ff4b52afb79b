"""The optional C kernel: one pass over a tensor for its whole summary.

What it computes has to be what `quantities` computes without it; it is never needed.
"""
