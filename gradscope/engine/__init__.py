"""The engine: owns torch and the user's code. Runs in a child process of the app, or inside a script or notebook.

Three doors: `__main__` is the process of the app, `headless` is `gradscope run`, `session` is what a script holds.

One book, two kinds of driver. The **book** is what is known of a training, whoever drives it: where it stands, what
`capture` has seen in each phase, what every step was. It asks its driver for facts (`book.driver.Driver`): which optimizers
there are, the batch, the loss, the notes. `stepping` is the driver of a recipe: it runs the phases, and undoes one that
fails. Values, explanations and snapshots need the book alone; edits, checkpoints and the gradient check need the stepper.

Imports run downwards only, also those for types: `pyproject.toml` has the order of the folders.
"""
