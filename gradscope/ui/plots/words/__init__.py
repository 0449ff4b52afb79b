"""What charts say: names that fit, numbers as text, the text of a cell.

No pyqtgraph.
"""
