"""Stops: their list, what a recheck has found, the choices that make one, and where menus and margins offer them.

App process, GUI thread. What a text means is `protocol.stops`; what is kept and sent is `ui.actions.stops`.
"""
