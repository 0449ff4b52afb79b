"""`gradscope.watch()`: a training that runs already, in a script, a notebook or at a prompt, is followed from inside.

The process that trains is the engine: nobody has started it for that, and nobody ends it.
"""
