"""What a dataclass's docstring says of its fields, for command lines and manuals."""
import inspect
import re


def attributes(cls):
    """Types and descriptions of a dataclass's fields, from the Attributes section of its numpydoc docstring.

    Parameters
    ----------
    cls : type

    Returns
    -------
    dict of str to (str, str)
        Type and description of each field, on one line each; fields that share an entry share its text.
    """
    # compilers differ in whether they keep a docstring's indentation: Python 3.13 takes it away
    section = inspect.cleandoc(cls.__doc__).partition("Attributes\n----------\n")[2]
    found = {}
    for entry in re.split(r"\n(?=\S)", section):
        head, _, text = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        found.update(dict.fromkeys(re.split(", *", names), (kind, " ".join(text.split()))))
    return found
