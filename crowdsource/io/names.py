"""Names of files from what headers and tables say, which is not to be trusted."""
import hashlib
import re

LONGEST = 120
PLAIN = re.compile(r"[\w+][\w.+-]*")


def safe_name(text):
    """A file name from any text: letters, digits and ``_ . + -``, none of the last three first, and not too long.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Empty when nothing of the text can be used.
    """
    name = re.sub(r"[^\w.+-]+", "_", str(text)).strip("_").lstrip(".-")
    return name if len(name) <= LONGEST else f"{name[:LONGEST-9]}-{_short(text)}"


def distinct_name(text):
    """As `safe_name`, with a word of its own for a text that is no file name as it is: different texts have different names."""
    name = safe_name(text)
    return name if name and name == text else f"{name[:LONGEST-9] or 'file'}-{_short(text)}"


def is_safe(name):
    """Whether a text can be the name of a file as it is."""
    return len(name) <= LONGEST and PLAIN.fullmatch(name) is not None


def _short(text):
    return hashlib.sha256(str(text).encode()).hexdigest()[:8]
