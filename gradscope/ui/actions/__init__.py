"""What a person can do: the table of actions, and the glue that turns each into a request to the engine.

No widget of the window is known in here.
"""
