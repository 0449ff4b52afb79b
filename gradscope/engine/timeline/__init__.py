"""Going back: a training's state at every step or at some, as much of it as a limit of memory allows, and exact replay from
the nearest. What makes a state equal to another (`state_hash`) is decided here and nowhere else.

Nothing here knows of the app, of messages, or of how a step is made: it drives a `Stepper`.
"""
