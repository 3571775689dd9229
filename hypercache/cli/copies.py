"""The commands backup and restore: whole, verified copies of a store."""

from __future__ import annotations

import click

from hypercache.cli import stores
from hypercache.cli.printing import echo, echo_json
from hypercache.cli.stores import directory_argument, json_option, store_argument
from hypercache.engines import BUILT_IN, backup_helper, namespaces
from hypercache.errors import ConfigError
from hypercache.handle import StoreHandle
from hypercache.storage import OsStorage


@click.command()
@store_argument
@click.argument("destination", metavar="DEST")
@json_option
def backup(directory: str, destination: str, *, as_json: bool) -> None:
    """Copy a store with its namespaces to DEST, also while it is open.

    DEST is a new or an empty directory. The copy is the store as of one moment, synced,
    and was read back; on an error there is none. Prints its LSN, entries and bytes.
    """
    _copy(directory, destination, as_json=as_json)


@click.command()
@click.argument("source", metavar="BACKUP")
@directory_argument
@json_option
def restore(source: str, directory: str, *, as_json: bool) -> None:
    """Make a store in DIR from a backup, with its namespaces; the backup stays.

    DIR is new or empty. The store is synced and was read back; on an error there is
    none. Prints its LSN, entries and bytes.
    """
    if OsStorage().may_be_written(stores.paths_of(source).lock):
        raise ConfigError(
            f"{source} is open, so it is no backup at rest; close it, or copy it with "
            "`hypercache backup`"
        )
    _copy(source, directory, as_json=as_json)


def _copy(source: str, destination: str, *, as_json: bool) -> None:
    storage, paths = OsStorage(), stores.paths_of(source)
    engine = stores.identity_of(source).engine
    target = stores.paths_of(destination).root

    def copy_store(destination: str) -> int:
        if engine in BUILT_IN:
            return backup_helper.back_up(storage, paths, engine, destination)
        with stores.open_to_read(source) as cache:
            return StoreHandle.backup(cache, destination)

    def copy_namespace(name: str, destination: str) -> None:
        namespaces.back_up(storage, paths, name, engine, destination)

    place = storage, paths, target
    lsn = namespaces.back_up_all(*place, copy_store, copy_namespace)
    with stores.open_to_read(target) as copy:
        entry_count, disk_bytes = len(copy), copy.stats().disk_bytes
    if as_json:
        fields = {"lsn": lsn, "entry_count": entry_count, "disk_bytes": disk_bytes}
        echo_json({"path": target, **fields})
    else:
        echo(f"{target}: LSN {lsn}, {entry_count} entries, {disk_bytes:,} bytes")
