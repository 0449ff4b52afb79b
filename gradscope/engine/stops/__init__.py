"""Where a training stops: the points that a person has set, and the single steps through layers.

What a point says is parsed by `protocol.stops`; here it is decided at a moment of the training whether it holds. Nothing here
waits or serves requests: who is stopped does that.
"""
