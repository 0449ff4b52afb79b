"""What training happens in: random generators, devices, torch's settings, the user's code and whose error it is.

Models, recipes and sessions have no place in here.
"""
