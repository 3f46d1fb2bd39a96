"""The one exception that means "the input is wrong", shown as one line and exit code 2."""


class InputError(Exception):
    """A bad config, dataset, folder or argument. The message says what, where and what to do.

    Anything else that escapes is a fault of ours and keeps its traceback.
    """
