"""What can be tried beside a training, and what that comes to: values that messages carry and the engine makes.

No message is here, and nothing that tries anything.
"""
