"""The tabs with plots: which charts are in each, and what they share."""
