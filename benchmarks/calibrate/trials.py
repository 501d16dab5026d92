"""Fits of calibration scenes with one constant changed, and what they score."""
import sys
import time
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib import import_module

from benchmarks.calibrate.scenes import GROUPS, scene
from crowdsource import FitConfig


@contextmanager
def changed(config, owner, name, value):
    """A configuration in which a constant has another value, and a module in which it has.

    Parameters
    ----------
    config : FitConfig
    owner : str
        A section of the configuration, or a module within `crowdsource`.
    name : str
        Option or attribute; none is changed when empty.
    value : object

    Yields
    ------
    FitConfig
    """
    if not name:
        yield config
    elif owner == "fit":
        yield replace(config, **{name: value})
    elif owner in {f.name for f in fields(FitConfig)}:
        yield replace(config, **{owner: replace(getattr(config, owner), **{name: value})})
    else:
        before = getattr(import_module("crowdsource."+owner), name)
        # other modules may have imported it by name
        holders = [m for n, m in sys.modules.items() if n.startswith("crowdsource.") and vars(m).get(name) is before]
        for module in holders:
            setattr(module, name, value)
        try:
            yield config
        finally:
            for module in holders:
                setattr(module, name, before)


def measured(group, held_out=False, owner="", name="", value=None):
    """`Figures` of each scene of a group, fitted with a constant changed.

    Parameters
    ----------
    group : str
        Key of `scenes.GROUPS`.
    held_out : bool
        Take the scenes that are held out instead of those for training.
    owner, name, value
        As `changed`.

    Returns
    -------
    list of Figures
    """
    chosen, out = GROUPS[group], []
    for which in chosen.held_out if held_out else chosen.training:
        one = scene(group, *which)
        with changed(chosen.config, owner, name, value) as config:
            start = time.process_time()
            catalog = one.fitted(config)
            used = time.process_time()-start
        out.append(one.figures(catalog, used))
    return out
