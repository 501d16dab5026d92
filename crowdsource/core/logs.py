"""The package's logger, and the detector to which its messages belong."""
from contextvars import ContextVar

LOGGER = "crowdsource"
"""Name of the logger above those of all modules."""
CURRENT_DETECTOR = ContextVar("detector", default="")
"""Name of the detector that is being fitted, for log lines; empty for the only one."""
