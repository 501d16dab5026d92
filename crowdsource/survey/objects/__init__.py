"""Objects: which detections are one star, how they are averaged, what they are called, releases of them."""
