"""Terms of a detector's loss, and their combination."""
