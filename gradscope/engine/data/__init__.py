"""The batches of a training: loaders by the contract, passes over them, and their places for a checkpoint."""
