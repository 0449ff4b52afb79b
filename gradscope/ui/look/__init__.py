"""How the window looks: colours, icons, the style sheet; and the settings that are remembered."""
