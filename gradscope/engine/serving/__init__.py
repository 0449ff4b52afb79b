"""The engine as a process: the handshake, the server, its answers, what is told to the app and how it is queued.

Everything in here knows a session; no session knows of this.
"""
