"""Structured background: where the sky has structure that no star explains, found by a detector or a trained network."""
