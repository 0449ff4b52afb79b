"""The window. Runs in the app process, on its one GUI thread; never imports torch.

What is known is in `state`, what is asked goes through `ui.actions`; nothing else is asked or known in here.
"""
