"""How the window looks: colours, icons, the style sheet; and the settings that are remembered.

No widgets, and nothing that knows what is shown.
"""
