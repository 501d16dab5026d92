"""The parser of all commands: short usage, defaults in the help, and what a mistyped word may have meant."""
import argparse

from ..core.nearest import did_you_mean

MANY = 6
"""A usage line names so many options at most; the help has the others."""


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` as all commands use it.

    An error shows the usage of the command that it is about. It is raised by the parser of that command also where a word is not
    known, which argparse leaves to the parser of all commands.

    Parameters
    ----------
    help_by : str, optional
        The command whose ``--help`` lists the options; `prog` when not given.
    """

    def __init__(self, *arguments, help_by=None, **options):
        super().__init__(*arguments, **{"allow_abbrev": False, "formatter_class": HelpFormatter, **options})
        self.help_by = help_by or self.prog

    def parse_known_args(self, args=None, namespace=None):
        """As of argparse; an error where a word is left over."""
        namespace, left = super().parse_known_args(args, namespace)
        if left:
            known = [name for action in self._actions for name in action.option_strings]
            word = left[0].partition("=")[0]
            what = "option" if word.startswith("-") else "argument"
            self.error(f"there is no {what} {word}{did_you_mean(word, known)}; {self.help_by} --help lists all")
        return namespace, left

    def _check_value(self, action, value):
        if action.choices is not None and value not in action.choices:
            names = [str(c) for c in action.choices]
            raise argparse.ArgumentError(action, f"there is no {value!r}{did_you_mean(value, names)}; choose one of "
                                         f"{', '.join(names)}")


class HelpFormatter(argparse.HelpFormatter):
    """Help with defaults, and a usage line that names options only where they are few."""

    def _get_help_string(self, action):
        return help_of(action)

    def _format_usage(self, usage, actions, groups, prefix):
        options = [a for a in actions if a.option_strings and not a.required]
        if usage is not None or len(options) <= MANY:
            return super()._format_usage(usage, actions, groups, prefix)
        text = super()._format_usage(None, [a for a in actions if a not in options], [], prefix)
        return text.rstrip()+" [options]\n\n"


def help_of(action):
    """The help of an argument with its default, where it has one that the text does not tell."""
    default, told = action.default, any(word in (action.help or "") for word in ("default", "not given"))
    if not action.option_strings or action.nargs == 0 or told or default in (None, False, "", argparse.SUPPRESS, [], ()):
        return action.help
    return with_default(action.help, default).replace("%", "%%").replace("%%%%", "%%")


def with_default(text, default):
    """A help text with a default value; as it is where the value is empty."""
    values = default if isinstance(default, (list, tuple)) else [default]
    shown = " ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
    return f"{text}; default {shown}" if shown else text
