"""What the app knows: plain Python and numpy, fed by engine messages. No Qt, no torch."""
