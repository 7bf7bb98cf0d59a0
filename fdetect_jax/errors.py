"""What a user did wrong, told apart from what this program does wrong."""


class UserError(ValueError):
    """A mistake in what was asked for: a field, a file or a folder that cannot be used.

    The message names it, says what was found and what was wanted. The command line prints it as one line and exits
    with status 2; every other exception keeps its traceback.
    """
