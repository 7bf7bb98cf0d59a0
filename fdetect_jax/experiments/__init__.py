"""Tables of many runs: the same detector trained in several ways, with several seeds, and what can be said of them."""
