"""The version that outputs record."""
from importlib.metadata import version

DISTRIBUTION = "crowdsourcephoto"
"""Name under which this package is installed."""


def installed_version():
    """The version of the installed distribution."""
    return version(DISTRIBUTION)
