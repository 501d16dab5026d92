"""Registries: the project's own parts, those of others, objects that are handed over, and what goes wrong."""
from importlib.metadata import EntryPoint

import pytest

from crowdsource.core import registry
from crowdsource.core.errors import ConfigError, InstrumentError
from crowdsource.core.registry import Registry

GROUP = "crowdsource.test_parts"


def made(**own):
    return Registry(GROUP, "part", own)


@pytest.fixture
def third_party(monkeypatch):
    """Entry points that other distributions have, as (name, value)."""
    def add(*points):
        found = [EntryPoint(name, value, GROUP) for name, value in points]
        monkeypatch.setattr(registry, "entry_points", lambda group: found if group == GROUP else [])
    return add


def test_own_parts_by_name():
    parts = made(root="math:sqrt", join="os.path:join")
    assert parts.names() == ("root", "join") and parts.load("root")(4.) == 2 and parts.resolve("join")("a", "b").startswith("a")


def test_parts_of_others_come_after_the_own(third_party):
    third_party(("zeta", "math:exp"), ("alpha", "json:JSONDecoder.decode"))
    parts = made(root="math:sqrt")
    assert parts.names() == ("root", "alpha", "zeta")
    assert parts.load("zeta")(0.) == 1 and parts.load("alpha").__name__ == "decode"


def test_objects_are_taken_as_they_are():
    parts = made()
    assert parts.resolve(len) is len and parts.name_of(len) == "builtins:len" and parts.name_of("root") == "root"

    class Part:
        def __call__(self):
            return 3

    part = Part()
    assert parts.resolve(part)() == 3 and parts.name_of(part).endswith("Part")


def test_unknown_names_list_what_is_there():
    for ask in (made(root="math:sqrt").load, made(root="math:sqrt").check):
        with pytest.raises(ConfigError, match="there is no part 'rot': choose one of root"):
            ask("rot")


def test_what_does_not_keep_the_contract_is_refused(third_party):
    third_party(("pi", "math:pi"))
    for ask in (lambda p: p.load("pi"), lambda p: p.resolve(3.), lambda p: p.check(3.)):
        with pytest.raises(ConfigError, match="is no part: it does not keep the contract in docs/extend.md"):
            ask(made())


def test_two_of_one_name(third_party):
    third_party(("root", "math:exp"), ("twice", "math:sin"), ("twice", "math:cos"), ("once", "math:sin"), ("once", "math:sin"))
    parts = made(root="math:sqrt")
    with pytest.raises(ConfigError, match="twice' is registered as math:.* and math:.*: uninstall one"):
        parts.load("twice")
    assert parts.load("once")(0.) == 0
    # names of the project's own stay its own
    assert parts.load("root")(4.) == 2 and parts.names().count("root") == 1


@pytest.mark.parametrize("value", ["no_such_module:thing", "math:no_such_thing"])
def test_what_cannot_be_loaded(third_party, value):
    third_party(("broken", value))
    parts = Registry(GROUP, "part", {}, error=InstrumentError)
    with pytest.raises(InstrumentError, match=f"broken' .{value}. cannot be loaded: .*update or uninstall its package"):
        parts.load("broken")
