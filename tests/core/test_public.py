"""Proves that what the packages export is sorted, importable and documented."""

import inspect
from types import ModuleType

import pytest

import inferneo_core
import inferneo_server

PACKAGES = [inferneo_core, inferneo_server]
EXPORTS = [(package, name) for package in PACKAGES for name in package.__all__]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_names_of_a_package_are_sorted_and_given_once(package: ModuleType) -> None:
    assert list(package.__all__) == sorted(set(package.__all__))
    assert package.__doc__


@pytest.mark.parametrize(("package", "name"), EXPORTS)
def test_each_name_can_be_imported_and_says_what_it_is(package: ModuleType, name: str) -> None:
    exported = getattr(package, name)

    # Its own text: what a struct or an exception inherits says nothing of it.
    assert inspect.cleandoc(exported.__doc__ or "")
    assert exported.__doc__ not in {base.__doc__ for base in getattr(exported, "__mro__", ())[1:]}


@pytest.mark.parametrize(("package", "name"), EXPORTS)
def test_each_name_is_the_packages_own(package: ModuleType, name: str) -> None:
    assert getattr(package, name).__module__.split(".")[0] == package.__name__


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_else_of_a_package_is_exported(package: ModuleType) -> None:
    own = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }

    # The server imports what it exports only when it is asked for it.
    assert own == (set() if hasattr(package, "__getattr__") else set(package.__all__))
