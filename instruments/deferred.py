"""Functions whose modules are imported when they are first called.

`crowdsource --help` loads every adapter to show its summary. What an adapter needs only for a first PSF, for writing or for
simulations, and takes longer to import than the rest of it, is named by a text instead of an import at the top. The adapters
have no other way of importing later.
"""
from importlib import import_module


def deferred(target):
    """A function that imports another one when it is called, and calls it.

    Parameters
    ----------
    target : str
        ``module:function``, the module by its full name.

    Returns
    -------
    callable
    """
    module, _, name = target.partition(":")

    def call(*args, **kwargs):
        return getattr(import_module(module), name)(*args, **kwargs)

    return call
