"""What the console is made of: what was said, the field to type in, the list of watched expressions.

They show the state and say what a person wants; requests are made elsewhere, and no panel is known here.
"""
