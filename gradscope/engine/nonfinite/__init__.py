"""Where NaN and Inf begin: `births` notes it in a forward; `operation`, `forward` and `backward` find the operation.

It goes by the counts that the capture makes anyway; inputs, batch and parameters are looked at when something was bad.
Whether a phase has found anything is judged by the book, not in here.
"""
