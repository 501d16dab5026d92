"""unWISE coadds of WISE, bands W1 and W2."""
from .adapter import Wise

__all__ = ("Wise",)
