"""Objects: which detections belong to one star, their means, identifiers, and releases of them."""
