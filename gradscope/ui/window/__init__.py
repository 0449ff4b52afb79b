"""The window and its fixed parts, from the menu bar to the status bar. What lies in docks and tabs has other folders."""
