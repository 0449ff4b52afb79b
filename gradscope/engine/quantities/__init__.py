"""What is computed of a tensor. One quantity a file; each takes values as `values.Readable` gives them.

No names, no layers, no phases: a tensor goes in and numbers come out.
"""
