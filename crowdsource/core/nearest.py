"""What a user may have meant: the names nearest to one that there is not."""
from difflib import SequenceMatcher, get_close_matches
from pathlib import PurePath

ALIKE, STEMS_ALIKE = 0.75, 0.6
"""Names are alike that share so much, as difflib measures it, and so much before their endings: .fits makes no files alike."""


def nearest(word, names):
    """The name most alike to a word, in any case; None where none is alike.

    Parameters
    ----------
    word : str
    names : iterable of str
    """
    word, lower = str(word).lower(), {n.lower(): n for n in names}
    for found in get_close_matches(word, lower, cutoff=ALIKE):
        if SequenceMatcher(None, PurePath(word).stem, PurePath(found).stem).ratio() >= STEMS_ALIKE:
            return lower[found]
    return None


def did_you_mean(word, names):
    """A clause for a message, `` (did you mean NAME?)``; nothing where no name is alike."""
    name = nearest(word, names)
    return "" if name is None else f" (did you mean {name}?)"


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
