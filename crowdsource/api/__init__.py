"""What Python users work with: fits of whatever they have, results with pictures and files, the calls of photutils."""
