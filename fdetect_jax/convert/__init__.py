"""Public checkpoints to and from this package's variables."""
