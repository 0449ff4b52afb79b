"""The Compare tab: what is shown against a snapshot, subject by subject."""
