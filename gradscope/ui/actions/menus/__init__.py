"""The table of actions, a file for each menu. Data only.

What an action does is in `window.commands`, when it can be used in `actions.actions`.
"""
