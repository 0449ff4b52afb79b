"""The optional C kernel: one pass over a tensor for its whole summary."""
