"""CRC32C of the package crc32c, by its extension module alone.

Importing the package looks its own version up in the metadata of all that is
installed: 0.1 s, more than the rest of this library takes, in each helper and command.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec

__all__ = ["crc32c"]

Crc = Callable[..., int]


def _of_the_extension() -> Crc | None:
    package = find_spec("crc32c")
    if package is None or package.submodule_search_locations is None:
        return None
    places = list(package.submodule_search_locations)
    spec = PathFinder.find_spec("crc32c._crc32c", places)
    if spec is None or spec.loader is None:
        return None
    extension = module_from_spec(spec)
    spec.loader.exec_module(extension)
    found: Crc | None = getattr(extension, "crc32c", None)
    return found


def _of_the_package() -> Crc:
    from crc32c import crc32c as found

    return found


crc32c: Crc = _of_the_extension() or _of_the_package()
