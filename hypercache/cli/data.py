"""The commands get, set, del and scan."""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any

import click

from hypercache import arguments
from hypercache.cli import exits, stores
from hypercache.cli.printing import echo, echo_json, json_text, key_text, value_text
from hypercache.cli.stores import (
    directory_argument,
    json_option,
    namespace_option,
    store_argument,
)
from hypercache.engines import BUILT_IN
from hypercache.errors import ConfigError
from hypercache.ops import check_key

# A key is the bytes of the argument as the shell passed them, UTF-8 or not.
KEY = os.fsencode
_ABSENT = object()  # None is a value, too


@click.command()
@store_argument
@click.argument("key", type=KEY, metavar="KEY")
@click.option("--raw", is_flag=True, help="Print the bytes of a text or bytes value.")
@json_option
def get(directory: str, key: bytes, *, raw: bool, as_json: bool) -> None:
    """Print the value of a key.

    Text is printed as it is, anything else as JSON; with --json, an object with the
    value and the seconds it has left to live.
    """
    if raw and as_json:
        raise click.UsageError("--raw and --json exclude each other")
    check_key(key)
    with stores.open_to_read(directory) as cache:
        value = cache.get(key, _ABSENT)
        ttl = cache.ttl(key)
    if value is _ABSENT:
        exits.say(f"there is no key {key_text(key)}")
        raise click.exceptions.Exit(exits.ABSENT)
    if raw:
        click.echo(_raw(key, value), nl=False)
    elif as_json:
        echo_json({"key": key, "value": value, "ttl": ttl})
    else:
        echo(value_text(value))


@click.command("set")
@directory_argument
@click.argument("key", type=KEY, metavar="KEY")
@click.argument("value", required=False)
@namespace_option
@click.option("--file", type=click.File("rb"), help="Read the value from a file.")
@click.option("--ttl", type=float, metavar="SECONDS", help="Expire after so long.")
@click.option("--json", "as_json", is_flag=True, help="The value is JSON.")
@click.option(
    "--engine", type=click.Choice(BUILT_IN), help="Of a new store; hybrid by default."
)
def set_value(
    directory: str,
    key: bytes,
    value: str | None,
    *,
    file: IO[bytes] | None,
    ttl: float | None,
    as_json: bool,
    engine: str | None,
    namespace: str | None,
) -> None:
    """Store a value and print its LSN.

    It is on the medium when the LSN is printed. VALUE is stored as text, in a store
    of bytes as bytes; - reads it from standard input. A store, or namespace, that does
    not exist is created.
    """
    if (value is None) == (file is None):
        raise click.UsageError("pass either VALUE or --file")
    # Before anything is created.
    check_key(key)
    arguments.ttl_ms(ttl)
    data = _read(value, file)
    serializer = stores.serializer_to_write(directory, namespace)
    wanted = _parse(data) if as_json else _text(data, serializer)
    with stores.open_or_create(directory, engine, namespace) as cache:
        lsn = cache.set(key, wanted, ttl)
        cache.sync()
        echo(str(lsn))


@click.command("del")
@store_argument
@click.argument("keys", type=KEY, nargs=-1, required=True, metavar="KEY...")
@json_option
def delete(directory: str, keys: tuple[bytes, ...], *, as_json: bool) -> None:
    """Remove keys, all at once.

    Prints how many were present.
    """
    with stores.open_to_write(directory) as cache:
        count = cache.delete_many(keys)
        cache.sync()
    if as_json:
        echo_json({"deleted": count})
    else:
        echo(str(count))


@click.command()
@store_argument
@click.option("--prefix", type=KEY, metavar="KEY", help="Keys that begin so.")
@click.option("--start", type=KEY, metavar="KEY", help="Keys from this one on.")
@click.option("--stop", type=KEY, metavar="KEY", help="Keys below this one.")
@click.option("--reverse", is_flag=True, help="From the highest key down.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many.")
@click.option("--keys-only", is_flag=True, help="Leave out the values.")
@json_option
def scan(directory: str, *, keys_only: bool, as_json: bool, **bounds: Any) -> None:
    """Print the entries in key order.

    Each is one line: the key, a tab, and the value as JSON. What cannot be printed in
    a key is escaped. With --json each line is an object, and exact. What others write
    meanwhile is not shown.
    """
    with stores.open_to_read(directory) as cache:
        for key, value in cache.scan(**bounds):
            if as_json:
                echo_json({"key": key} if keys_only else {"key": key, "value": value})
            elif keys_only:
                echo(key_text(key))
            else:
                echo(f"{key_text(key)}\t{json_text(value)}")


def _raw(key: bytes, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return value
    raise ConfigError(
        f"the value of {key_text(key)} is a {type(value).__name__}, which has no bytes "
        "of its own; leave out --raw"
    )


def _read(value: str | None, file: IO[bytes] | None) -> bytes:
    if file is not None:
        return file.read()
    if value == "-":
        return sys.stdin.buffer.read()
    return os.fsencode(value or "")


def _parse(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"the value is not JSON: {error}") from error


def _text(data: bytes, serializer: str | None) -> str | bytes:
    if serializer in ("bytes", stores.CUSTOM, None):
        return data
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"the value is not UTF-8, and the store's serializer {serializer!r} gets "
            f"text from here: {error}"
        ) from error
