"""The table of actions, a file for each menu. Data only."""
