"""Where NaN and Inf begin: `births` notes it in a forward, `watch` judges each phase, `operation` looks inside a layer.

It goes by the counts that the capture makes anyway; inputs, batch and parameters are looked at when something was bad.
"""
