"""What is computed of a tensor. One quantity a file; each takes values as `values.Readable` gives them."""
