"""`gradscope run`: a recipe or a script without a window, in this process. Progress, JSON lines, event files, a snapshot.

What a recipe and a script have in common is in `outputs`.
"""
