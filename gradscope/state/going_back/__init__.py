"""What the app knows of other times of a training: how far it can be taken back, its branches, values that were computed
again, a script that is run again.

Parts that take in messages of their own. Which recorded step is shown is no matter of these.
"""
