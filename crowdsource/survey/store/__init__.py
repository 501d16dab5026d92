"""Detections by HEALPix: catalog files as rows, the store of them, its log and its checks."""
