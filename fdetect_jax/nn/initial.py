"""Starting values of parameters. In: a module and an initialiser. Out: the initialiser where it is needed."""

from flax import linen as nn


def drawn(module: nn.Module, init: nn.initializers.Initializer) -> nn.initializers.Initializer:
    """``init`` while parameters are made, else zeros of the same shape.

    Flax traces the initialiser of a parameter that exists, to compare shapes: for a random one 3 ms, more than half of
    the time that tracing a network takes.
    """
    return init if module.is_initializing() else nn.initializers.zeros
