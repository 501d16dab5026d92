"""Registries: what can be chosen by name, from this project and from others.

Each kind of exchangeable part, such as sky estimators or PSF file formats, has one `Registry`. The project's own parts stand in a
table of it, and keep their names; a third party adds one through the entry-point group of the same name::

    [project.entry-points."crowdsource.sky_estimators"]
    tilted = "mypackage:tilted_plane"

and ``sky.estimator = "tilted"`` chooses it. Wherever a name is accepted, the part itself is accepted as well.
"""
from importlib import import_module
from importlib.metadata import entry_points
from types import BuiltinFunctionType, FunctionType

from .errors import ConfigError, CrowdsourceError


class Registry:
    """Parts of one kind by their names.

    Parameters
    ----------
    group : str
        The entry-point group of third parties, such as ``crowdsource.solvers``.
    kind : str
        What a part is called in messages, such as "solver".
    own : mapping of str to str
        The project's own parts as ``module:attribute``, loaded when they are first asked for.
    keeps : callable, optional
        Whether a part keeps the contract of its kind; that it can be called, when not given.
    contract : str
        Where the contract is described, for messages.
    error : type
        Of `CrowdsourceError`, raised where a part cannot be used.
    """

    def __init__(self, group, kind, own, *, keeps=callable, contract="docs/extend.md", error=ConfigError):
        self.group, self.kind, self.contract, self.error = group, kind, contract, error
        self._own, self._keeps, self._loaded = dict(own), keeps, {}

    @property
    def own(self):
        """Names of the project's own parts."""
        return tuple(self._own)

    def names(self):
        """Names of all parts, the project's own first."""
        return (*self._own, *(name for name in self._points() if name not in self._own))

    def __contains__(self, name):
        # looking through what is installed takes time, which nobody should spend who wants none of it
        return name in self._own or name in self._points()

    def load(self, name):
        """The part registered under a name.

        Raises
        ------
        CrowdsourceError
            Of the registry's type, when there is none, several distributions register the name, or it cannot be loaded or does
            not keep the contract.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def resolve(self, part):
        """A part that is given by its name, or is handed over itself. Errors as `load`."""
        return self.load(part) if isinstance(part, str) else self._checked(part, self.name_of(part))

    def check(self, part):
        """Raise an error where a part cannot be used: a name that is not known, or an object that does not keep the contract."""
        if isinstance(part, str):
            if part not in self:
                raise self.error(f"there is no {self.kind} {part!r}: choose one of {', '.join(self.names())}")
        else:
            self._checked(part, self.name_of(part))

    @staticmethod
    def name_of(part):
        """What a part is called in records: its registered name, or ``module:name`` of an object or its class."""
        if isinstance(part, str):
            return part
        named = part if isinstance(part, (type, FunctionType, BuiltinFunctionType)) else type(part)
        return f"{named.__module__}:{named.__qualname__}"

    def _points(self):
        """Entry points of third parties by name, a list for each."""
        found = {}
        for point in sorted(entry_points(group=self.group), key=lambda p: (p.name, p.value)):
            if all(other.value != point.value for other in found.setdefault(point.name, [])):
                found[point.name].append(point)
        return found

    def _load(self, name):
        where = [self._own[name]] if name in self._own else [p.value for p in self._points().get(name, ())]
        if not where:
            raise self.error(f"there is no {self.kind} {name!r}: choose one of {', '.join(self.names())}")
        if len(where) > 1:
            raise self.error(f"{self.kind} {name!r} is registered as {' and '.join(where)}: uninstall one of the packages")
        module, _, attribute = where[0].partition(":")
        try:
            part = import_module(module)
            for step in attribute.split("."):
                part = getattr(part, step)
        except CrowdsourceError:
            raise
        except Exception as problem:
            raise self.error(f"{self.kind} {name!r} ({where[0]}) cannot be loaded: {problem}; update or uninstall its package"
                             ) from problem
        return self._checked(part, f"{name} ({where[0]})")

    def _checked(self, part, named):
        if not self._keeps(part):
            raise self.error(f"{named} is no {self.kind}: it does not keep the contract in {self.contract}")
        return part
