"""The loop of passes that models a whole image, and its stages."""
