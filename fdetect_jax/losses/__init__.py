"""Terms of a detector's loss, and how they combine."""
