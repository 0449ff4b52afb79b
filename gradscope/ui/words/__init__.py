"""What is called how: quantities, levels of capture, pins, sizes and times, in words.

No widgets.
"""
