"""Detections of many exposures brought together: the store by HEALPix, objects, releases, exports."""
