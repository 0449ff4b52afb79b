"""What rides along with a training and writes the record: steps, layers, units, functions.

It judges nothing, changes no tensor and draws no random number.
"""
