"""What one phase has shown, as an object for scripts, as JSON lines, as TensorBoard events.

What is sent to the app, and how, is not known in here.
"""
