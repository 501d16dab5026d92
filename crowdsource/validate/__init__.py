"""Scores against a truth, and artificial stars."""
