"""The errors that crowdsource raises, and which one to raise when.

=====================  ==================================================================
`InputError`           arrays handed to the engine cannot be used (shape, dtype, content)
`ConfigError`          an option or configuration value is unknown, of the wrong type or
                       out of range
`DataFileError`        a file cannot be read, or does not hold what is asked of it
`OutputError`          an output exists already or cannot be written
`StoreError`           a store of detections is damaged, or cannot take what it is given
`InstrumentError`      no instrument, or more than one, claims a file
`MissingExtraError`    a feature needs an optional package that is not installed
=====================  ==================================================================

Every message says what was wrong, where, and what to do. Arguments stand in backticks as Python has them, ```overwrite=True```;
the command line writes them as its options, ``--overwrite``.
"""
from importlib import import_module


class CrowdsourceError(Exception):
    """Base of all errors that a user can cause and correct."""


class InputError(CrowdsourceError, ValueError):
    """Arrays or values handed to the engine cannot be used."""


class ConfigError(CrowdsourceError, ValueError):
    """A configuration value is unknown, of the wrong type or out of range."""


class DataFileError(CrowdsourceError, OSError):
    """A file cannot be read, or does not hold what is asked of it.

    Parameters
    ----------
    path : str or path-like
        The file.
    problem : str
        What is wrong and what to do.
    hdu : int or str, optional
        The HDU in which it was found.
    """

    def __init__(self, path, problem, hdu=None):
        # what libraries say of a file may have several lines
        self.path, self.problem, self.hdu = path, " ".join(str(problem).split()), hdu
        where = f"{path}" if hdu is None else f"{path}[{hdu}]"
        super().__init__(f"{where}: {self.problem}")

    def __reduce__(self):
        return type(self), (self.path, self.problem, self.hdu)


class OutputError(CrowdsourceError, OSError):
    """An output exists already or cannot be written."""


class StoreError(CrowdsourceError):
    """A store of detections is not there, damaged, or cannot take what it is given."""


class InstrumentError(CrowdsourceError):
    """No instrument, or more than one, claims a file."""


class MissingExtraError(CrowdsourceError, ImportError):
    """A feature needs an optional package that is not installed.

    Parameters
    ----------
    package : str
        The package that is missing.
    extra : str
        The extra of this distribution that brings it.
    purpose : str
        What it is needed for.
    """

    def __init__(self, package, extra, purpose):
        self.package, self.extra, self.purpose = package, extra, purpose
        super().__init__(f"{purpose} needs {package}: pip install 'crowdsourcephoto[{extra}]'")

    def __reduce__(self):
        return type(self), (self.package, self.extra, self.purpose)


def need(module, extra, purpose):
    """Import an optional package or say which extra brings it.

    Parameters
    ----------
    module : str
        Dotted name of the module to import.
    extra : str
        The extra of this distribution that brings it.
    purpose : str
        What it is needed for, as the subject of a sentence.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingExtraError
        When the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as problem:
        raise MissingExtraError(module.partition(".")[0], extra, purpose) from problem
