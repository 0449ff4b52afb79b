"""The one door for calling the user's code beside the training: everything it can reach is put back, or it is told.

It does not know what it is opened for: no session, no recipe, no phase.
"""
