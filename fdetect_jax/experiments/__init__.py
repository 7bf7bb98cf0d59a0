"""Tables of many runs: one detector trained in several ways, with several seeds, and their comparison."""
