"""What charts are made of: axes, scales, sampling, legends, the plot itself."""
