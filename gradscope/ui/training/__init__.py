"""The parts of the panel in which the training step is edited."""
