"""The batches of a training: loaders by the contract, passes over them, and their places for a checkpoint.

No model and no session: what a batch is for is not known in here.
"""
