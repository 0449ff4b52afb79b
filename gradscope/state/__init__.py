"""What the app knows: plain Python and numpy, fed by engine messages. No Qt, no torch.

No threads. A view reads it; it is changed by messages and by what a person does, and by nobody else.
"""
