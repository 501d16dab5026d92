"""What a user may have meant: the names nearest to one that there is not."""
from difflib import SequenceMatcher, get_close_matches
from pathlib import PurePath

ALIKE, STEMS_ALIKE, AS_ALIKE = 0.75, 0.6, 0.05
"""Names are alike that share so much, as difflib measures it, and so much before their endings, since .fits makes no files alike;
further ones count that are less alike than the first by this at most."""


def nearest(word, names):
    """The names most alike to a word, in any case, the most alike first; none where none is alike.

    Parameters
    ----------
    word : str
    names : iterable of str

    Returns
    -------
    list of str
    """
    word, lower = str(word).lower(), {n.lower(): n for n in names}
    alike = lambda a, b: SequenceMatcher(None, b, a).ratio()
    found = [n for n in get_close_matches(word, lower, cutoff=ALIKE)
             if alike(PurePath(word).stem, PurePath(n).stem) >= STEMS_ALIKE]
    return [lower[n] for n in found if alike(word, n) >= alike(word, found[0])-AS_ALIKE]


def did_you_mean(word, names, otherwise=""):
    """What a message says after a name that there is not, ``" (did you mean NAME?)"``; `otherwise` where no name is alike."""
    return f" (did you mean {' or '.join(near)}?)" if (near := nearest(word, names)) else otherwise


def one_of(names):
    """What a message says after a name where all that there are may be listed, ``": choose one of A, B"``."""
    return f": choose one of {', '.join(names)}"
