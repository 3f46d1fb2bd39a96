"""The exceptions that mean "the input is wrong": one line and exit code 2."""


class InputError(Exception):
    """A bad config, dataset, folder or argument. The message says what, where and what to do.

    Anything else that escapes is a fault of ours and keeps its traceback.
    """


class StorageError(InputError):
    """A disk that is full or may not be written to. The config is not to blame: the same command goes on afterwards."""
