"""The hooks, and what they see: one record of summaries and places a phase. No tensor is changed, no random number drawn.

Nothing in here knows who drives the training.
"""
