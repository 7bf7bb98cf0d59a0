"""What a user did wrong, as distinct from what this program does wrong."""


class UserError(ValueError):
    """A mistake in what was asked for: a field, a file or a folder that cannot be used.

    The message names it, says what was found and what was wanted. The command line prints it as one line and exits
    with status 2; every other exception keeps its traceback.
    """


class UnreadableRecord(UserError):
    """A stored face crop that cannot be read or decoded; the message names its shard and its number in it.

    Training quarantines such records. An error in the program's own code is never raised as one.
    """
