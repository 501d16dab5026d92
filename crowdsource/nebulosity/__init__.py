"""Structured background: structure of the sky that stars do not explain, found by a detector or a trained network."""
