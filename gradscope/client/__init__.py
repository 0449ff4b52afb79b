"""The border in the app: the engine process, the link to it, numbered requests. QtCore and QtNetwork only; no torch."""
