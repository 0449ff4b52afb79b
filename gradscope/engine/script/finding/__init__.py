"""What a script has, and what it calls it: models and tensors, optimizers, the loss, the batches.

Nothing here knows of phases.
"""
