"""What a mistyped name was probably meant to be."""
from difflib import get_close_matches


def meant(name, known, otherwise=None):
    """What a message says after a name that is not known: the nearest of those that are, or all of them.

    Parameters
    ----------
    name : str
    known : iterable of str
    otherwise : str, optional
        What is said where none is near; all of them when not given.

    Returns
    -------
    str
        ``did you mean 'min_passes' or 'max_passes'?``, or ``choose one of a, b, c``.
    """
    known = list(known)
    near = get_close_matches(str(name).lower(), known)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else \
        otherwise or f"choose one of {', '.join(known)}"
