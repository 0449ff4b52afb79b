"""What charts are made of: axes, scales, sampling, legends, the plot itself.

None knows which quantity is drawn.
"""
