"""Completeness of an image: artificial stars added to it, searched for and compared with what was put in."""
