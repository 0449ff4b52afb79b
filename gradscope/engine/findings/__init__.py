"""What is wrong with a training: rules that judge what was seen along the way, experiments on its own state, a data pass.

No rule knows another: `roots` alone knows which finding follows from which.
"""
