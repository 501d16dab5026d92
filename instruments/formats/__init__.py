"""Forms of image files that are known by themselves: where their pixels, noise, flags, units and zero points are.

The table of them is in `crowdsource.instruments.formats.registry`, what a form says in `crowdsource.instruments.formats.base`.
"""
