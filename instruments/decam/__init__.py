"""DECam exposures of the Community Pipeline."""
from .adapter import Decam

__all__ = ("Decam",)
