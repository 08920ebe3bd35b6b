"""Registries: entries that are found by name, each defined in a file of its own.

Knows names, duplicates, and the packages whose modules define entries. Does not know what an entry
is: its type is defined beside its registry.

A registry lies on a low floor (formats/benchmark.py), while the files of its entries may lie on a
higher one (eval/benchmarks/). The low floor names none of them. The top of the package,
rag_vqa/__init__.py, says in which packages to look, and their modules are imported when an entry is
first looked up.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

from rag_vqa.errors import UsageError
from rag_vqa.formatting import did_you_mean

_PACKAGES: dict[str, tuple[str, ...]] = {}  # what a registry contains → where to look for more


class NamedEntry(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name under which the entry is found."""


Entry = TypeVar("Entry", bound=NamedEntry)


def register_package(what: str, package: str) -> None:
    """Let the registry of `what` ("benchmark") look for entries in the modules of a package.

    The modules are not imported yet; importing one must register its entries.
    """
    known = _PACKAGES.get(what, ())
    if package not in known:
        _PACKAGES[what] = (*known, package)


def load_target(target: Any) -> Any:
    """Imports the object that "module:name" names; returns anything but a string unchanged.

    >>> load_target("math:sqrt")(9)
    3.0
    """
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


class Registry(Generic[Entry]):
    """Entries by name, in alphabetical order.

    >>> class Colour:
    ...     name = "red"
    >>> colours = Registry("colour")
    >>> _ = colours.register(Colour())
    >>> colours.names()
    ('red',)
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._entries: dict[str, Entry] = {}
        self._imported: set[str] = set()

    def register(self, entry: Entry) -> Entry:
        """Add an entry, and return it.

        Raises:
            UsageError: another entry has this name.
        """
        if self._entries.setdefault(entry.name, entry) is not entry:
            raise UsageError(f"there are two {self._what}s called {entry.name!r}: rename one.")
        return entry

    @contextmanager
    def temporary_entry(self, entry: Entry) -> Iterator[Entry]:
        """Add an entry for the length of a `with` block."""
        self.register(entry)
        try:
            yield entry
        finally:
            del self._entries[entry.name]

    def get(self, name: str) -> Entry:
        """The entry of this name.

        Raises:
            UsageError: there is none; the message lists those that there are.
        """
        self._import_packages()
        if name not in self._entries:
            raise UsageError(
                f"there is no {self._what} {name!r}.{did_you_mean(name, self._entries)} "
                f"Known: {', '.join(sorted(self._entries))}."
            )
        return self._entries[name]

    def find(self, name: str) -> Entry | None:
        """The entry of this name; None if there is none."""
        self._import_packages()
        return self._entries.get(name)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(entry.name for entry in self.entries())

    def entries(self) -> tuple[Entry, ...]:
        """All entries, sorted by name."""
        self._import_packages()
        return tuple(self._entries[name] for name in sorted(self._entries))

    def _import_packages(self) -> None:
        for package in _PACKAGES.get(self._what, ()):
            if package not in self._imported:
                folders = import_module(package).__path__
                for module in sorted(found.name for found in pkgutil.iter_modules(folders)):
                    import_module(f"{package}.{module}")
                self._imported.add(package)
