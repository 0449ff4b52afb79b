"""Steps that are tried and taken back: other rates, no clipping, another optimizer; the loss along directions; a batch that
is run again after each step.

It works on the bench of the findings, where everything is put back; nothing here judges what it sees.
"""
