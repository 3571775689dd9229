"""Find engines of other packages, by the entry point group they register under.

Imported when a name is asked for that is not built in: reading the entry points of all
installed distributions is slower than opening most stores.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from hypercache.engines.base import StorageEngine
from hypercache.errors import ConfigError
from hypercache.options import Options

GROUP = "hypercache.engines"


def open_registered(
    name: str, path: str | None, options: Options, built_in: tuple[str, ...]
) -> StorageEngine:
    """Call the factory that is registered under a name.

    Raises:
        ConfigError: nobody registered the name, several did, or what is registered
            cannot be imported or makes no engine.
    """
    point = _find(name, built_in)
    factory = _load(point)
    if not callable(factory):
        raise _no_engine(point, factory)
    engine = factory(path, options)
    if not isinstance(engine, StorageEngine):
        raise _no_engine(point, engine)
    return engine


def _find(name: str, built_in: tuple[str, ...]) -> EntryPoint:
    points = entry_points(group=GROUP)
    found = list(dict.fromkeys(point for point in points if point.name == name))
    if len(found) == 1:
        return found[0]
    if found:
        several = " and ".join(map(_whose, found))
        raise ConfigError(
            f"engine={name!r} is registered twice, by {several}; uninstall one of them"
        )
    names = [repr(known) for known in (*built_in, *sorted(points.names))]
    raise ConfigError(
        f"engine={name!r} is unknown; use one of {', '.join(dict.fromkeys(names))}, or "
        f"install the package that registers it under {GROUP!r}"
    )


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:  # importing a module runs whatever it says
        raise ConfigError(
            f"engine={point.name!r}: {_whose(point)} cannot be imported: "
            f"{type(error).__name__}: {error}; repair or uninstall that distribution"
        ) from error


def _no_engine(point: EntryPoint, found: object) -> ConfigError:
    return ConfigError(
        f"engine={point.name!r}: {_whose(point)} gives a {type(found).__name__} where "
        "a factory(path, options) -> StorageEngine is needed; see docs/extending.md"
    )


def _whose(point: EntryPoint) -> str:
    by = point.dist.name if point.dist is not None else "an unknown distribution"
    return f"{point.value} of {by}"
