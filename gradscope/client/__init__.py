"""The border in the app: the engine process, the link to it, numbered requests. QtCore and QtNetwork only; no torch.

Widgets and what a session means have no place in here.
"""
