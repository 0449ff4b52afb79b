"""Requests that take long, or run the user's code beside the training: each with its progress, and a way to break it off.

What is done is done by the session; here it is told. Requests that only read what is known have no business here.
"""
