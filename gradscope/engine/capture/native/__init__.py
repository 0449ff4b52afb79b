"""The optional compiled taps: what the observer does for a usual layer, in C.

What they tell has to be what `capture/observer.py` tells without them; they are never needed. No number is computed here.
"""
