"""What is asked of a training that stands still: why a parameter moved so, whether a gradient is right.

The answers leave training bit for bit as it was.
"""
