"""The parts of the panel in which the training step is edited.

What an edit does to the training is the engine's: in here it is asked for.
"""
