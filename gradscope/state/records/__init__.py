"""What was recorded of the steps that are done, and ways of looking at it: blocks of numbers, cells, curves, histograms.

Plain numbers of a `History`; nothing here changes with what a person does, and no message is taken in here.
"""
