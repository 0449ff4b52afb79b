"""The panels around the workspace, one file a dock."""
