"""The tabs of what is tried beside the training: steps and the loss around them, and the pinned batch.

Charts are drawn in `ui.plots`, and what is asked of the engine in `ui.actions.what_ifs`.
"""
