"""The other driver: follows the loop of a script of the user's, which nobody has to change.

`launching` runs it, `finding` knows what its things are called; here are the taps in torch, and what they tell becomes phases
(`following`). Nothing here steps a training itself.
"""
