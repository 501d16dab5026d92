"""Instrument adapters."""
