"""The commands namespaces and drop."""

from __future__ import annotations

import click

from hypercache.cli import exits, stores
from hypercache.cli.printing import echo, echo_json, key_text
from hypercache.cli.stores import directory_argument, json_option
from hypercache.errors import CorruptionError, HyperCacheError


@click.command()
@directory_argument
@json_option
def namespaces(directory: str, *, as_json: bool) -> None:
    """List the namespaces in a store.

    Each is one line: the name, its entries, and its bytes on disk.
    """
    with stores.open_to_read(directory) as cache:
        names = cache.namespaces()
    failed: HyperCacheError | None = None
    for name in names:
        try:
            count, disk_bytes = _sizes(directory, name)
        except CorruptionError as error:
            exits.say(exits.message_of(error))
            failed, count, disk_bytes = error, None, None
        if as_json:
            sizes = {"entry_count": count, "disk_bytes": disk_bytes}
            echo_json({"name": name, **sizes})
        else:
            shown = (
                ["damaged"]
                if count is None
                else [f"{count} entries", f"{disk_bytes:,} bytes"]
            )
            echo("\t".join([key_text(name.encode()), *shown]))
    if failed is not None:
        raise click.exceptions.Exit(exits.code_of(failed))


@click.command()
@directory_argument
@click.argument("name", metavar="NAME")
def drop(directory: str, name: str) -> None:
    """Remove a namespace with all that is in it.

    Nobody may have it open. It is gone from the medium when the command ends.
    """
    with stores.open_to_write(directory) as cache:
        if cache.drop_namespace(name):
            return
    exits.say(f"there is no namespace {key_text(name.encode())}")
    raise click.exceptions.Exit(exits.ABSENT)


def _sizes(directory: str, name: str) -> tuple[int, int]:
    with stores.open_to_read(stores.namespace_directory(directory, name)) as cache:
        return len(cache), cache.stats().disk_bytes
