"""Checks that imports inside the package only ever point down its layers.

The tables below are the rule; a new module is one new line in MODULES.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from _source import PACKAGE, Import, Module, Problem, load, main

# Top to bottom: a module may import what lies in a lower layer.
LAYERS = (
    "top",
    "bench",
    "public",
    "recovery",
    "cache",
    "engines",
    "inspection",
    "log",
    "segment",
    "format",
    "storage",
    "base",
)


@dataclass(frozen=True)
class Place:
    """A module's layer, and which modules of the same layer it may import."""

    layer: str
    beside: tuple[str, ...] = ()


# "name.*" is a package taken as one: its modules may import each other.
# "" is the package's own __init__.py.
MODULES = {
    "cli.*": Place("top"),
    "__main__": Place("top", ("cli.*",)),
    "bench.*": Place("bench"),
    "server.*": Place("top"),
    "integrations.*": Place("top"),
    "testing.*": Place("top"),
    "": Place("public"),
    "recovery.*": Place("recovery"),
    "async_cache": Place(
        "cache",
        (
            "advice.*",
            "arguments",
            "async_key_values",
            "async_transaction",
            "cache",
            "cache_stats",
            "entries",
            "key_value",
            "reading",
            "makers",
            "memoize",
            "namespaces",
            "recipe",
            "write_groups",
            "write_queue",
        ),
    ),
    "async_transaction": Place(
        "cache", ("async_key_values", "key_value", "reading", "write_queue")
    ),
    "async_key_values": Place("cache", ("entries", "key_value", "reading")),
    "write_groups": Place("cache", ("cache", "write_queue")),
    "write_queue": Place("cache"),
    "dbm": Place("cache", ("arguments", "cache", "entries")),
    "cache": Place(
        "cache",
        (
            "arguments",
            "entries",
            "hooks",
            "key_value",
            "reading",
            "makers",
            "mapping",
            "namespaces",
            "stored_namespaces",
        ),
    ),
    "stored_namespaces": Place("cache", ("namespaces",)),
    "namespaces": Place("cache", ("arguments", "entries", "makers")),
    "makers": Place(
        "cache",
        (
            "arguments",
            "entries",
            "insight",
            "key_value",
            "reading",
            "leases",
            "making",
            "memoize",
            "recipe",
            "reserved",
            "shelf",
            "single_flight",
        ),
    ),
    "memoize": Place(
        "cache", ("arguments", "call_keys", "entries", "recipe", "reserved")
    ),
    "call_keys": Place("cache"),
    "mapping": Place("cache", ("arguments", "entries", "key_value")),
    "shelf": Place(
        "cache", ("arguments", "entries", "leases", "making", "recipe", "single_flight")
    ),
    "making": Place("cache", ("single_flight",)),
    "recipe": Place("cache", ("arguments", "entries", "tags")),
    "leases": Place("cache", ("reserved",)),
    "single_flight": Place("cache"),
    "insight": Place("cache", ("advice.*", "cache_stats", "key_value", "reading")),
    "key_value": Place(
        "cache",
        ("arguments", "entries", "reading", "reserved", "tags", "transaction"),
    ),
    "reading": Place("cache", ("arguments", "entries")),
    "cache_stats": Place("cache", ("latency",)),
    "latency": Place("cache"),
    "hooks": Place("cache", ("reserved",)),
    "entries": Place(
        "cache",
        (
            "advice.*",
            "arguments",
            "handle",
            "hooks",
            "latency",
            "reserved",
            "sweeper",
            "tags",
            "transaction",
        ),
    ),
    "tags": Place("cache", ("arguments", "reserved")),
    "reserved": Place("cache"),
    "attributes": Place("format"),
    "handle": Place("cache", ("arguments", "closing", "sweeper")),
    "closing": Place("cache"),
    "advice.*": Place("cache"),
    "arguments": Place("cache"),
    "sweeper": Place("cache"),
    "transaction": Place("cache"),
    "filter": Place("cache", ("arguments",)),
    "eviction.*": Place("format"),
    "engines": Place(
        "engines",
        (
            "engines.base",
            "engines.durable_memory",
            "engines.hybrid",
            "engines.memory",
            "engines.persistent",
            "engines.registered",
        ),
    ),
    "engines.aof_audit": Place("engines", ("engines.auditing", "engines.base")),
    "engines.auditing": Place(
        "engines", ("engines.base", "engines.lmdb_store", "engines.lmdb_walk")
    ),
    "engines.backup": Place("engines", ("engines",)),
    "engines.backup_helper": Place(
        "engines",
        (
            "engines.backup",
            "engines.helper",
            "engines.identity",
            "engines.lmdb_reader",
            "engines.memory_reader",
        ),
    ),
    "engines.namespaces": Place(
        "engines",
        (
            "engines",
            "engines.auditing",
            "engines.backup",
            "engines.backup_helper",
            "engines.base",
            "engines.identity",
        ),
    ),
    "engines.base": Place("engines", ("engines.departures", "engines.reports")),
    "engines.departures": Place("engines"),
    "engines.capacity": Place(
        "engines",
        ("engines.expiry", "engines.costs", "engines.reports", "engines.slots"),
    ),
    "engines.checkpointer": Place(
        "engines",
        (
            "engines.memory_budget",
            "engines.fold_helper",
            "engines.lmdb_store",
            "engines.lmdb_trust",
            "engines.memtable",
            "engines.next_fold",
            "engines.read_cache",
            "engines.slots",
            "engines.upkeep",
        ),
    ),
    "engines.cold": Place("engines", ("engines.costs", "engines.envelope")),
    "engines.commit_queue": Place("engines"),
    "engines.committer": Place(
        "engines",
        (
            "engines.commit_queue",
            "engines.lmdb_batch",
            "engines.lmdb_store",
            "engines.refusals",
            "engines.shared_writes",
        ),
    ),
    "engines.compact_helper": Place("engines", ("engines.helper",)),
    "engines.compactor": Place(
        "engines", ("engines.compact_helper", "engines.memory_table", "engines.upkeep")
    ),
    "engines.costs": Place("engines", ("engines.envelope", "engines.slots")),
    "engines.disk_limits": Place(
        "engines",
        (
            "engines.capacity",
            "engines.cold",
            "engines.costs",
            "engines.envelope",
            "engines.lmdb_batch",
            "engines.lmdb_store",
            "engines.memtable",
            "engines.slots",
        ),
    ),
    "engines.durable_memory": Place(
        "engines",
        (
            "engines.memory_budget",
            "engines.expiry",
            "engines.capacity",
            "engines.aof_audit",
            "engines.auditing",
            "engines.backup_helper",
            "engines.base",
            "engines.compactor",
            "engines.identity",
            "engines.logged",
            "engines.memory_table",
            "engines.opening",
            "engines.replay_helper",
            "engines.slots",
        ),
    ),
    "engines.envelope": Place("engines"),
    "engines.expiry": Place("engines", ("engines.envelope", "engines.slots")),
    "engines.fold_helper": Place("engines", ("engines.helper", "engines.lmdb_store")),
    "engines.helper": Place("engines"),
    "engines.hybrid": Place(
        "engines",
        (
            "engines.memory_budget",
            "engines.expiry",
            "engines.disk_limits",
            "engines.auditing",
            "engines.backup_helper",
            "engines.base",
            "engines.checkpointer",
            "engines.logged",
            "engines.merging",
            "engines.opening",
            "engines.read_cache",
            "engines.slots",
        ),
    ),
    "engines.identity": Place("engines"),
    "engines.key_runs": Place("engines", ("engines.envelope",)),
    "engines.lmdb_batch": Place("engines", ("engines.envelope",)),
    "engines.lmdb_env": Place("engines"),
    "engines.lmdb_errors": Place("engines"),
    "engines.lmdb_layout": Place("engines"),
    "engines.lmdb_pages": Place("engines", ("engines.lmdb_layout",)),
    "engines.lmdb_reader": Place(
        "engines",
        (
            "engines.auditing",
            "engines.backup",
            "engines.base",
            "engines.identity",
            "engines.lmdb_snapshot",
            "engines.lmdb_trust",
            "engines.lmdb_walk",
            "engines.memtable",
            "engines.merging",
            "engines.opening",
            "engines.read_cache",
            "engines.read_only",
            "engines.slots",
        ),
    ),
    "engines.lmdb_snapshot": Place(
        "engines", ("engines.lmdb_env", "engines.lmdb_store")
    ),
    "engines.lmdb_store": Place(
        "engines",
        (
            "engines.lmdb_errors",
            "engines.envelope",
            "engines.key_runs",
            "engines.lmdb_batch",
            "engines.lmdb_env",
            "engines.lmdb_pages",
        ),
    ),
    "engines.lmdb_trust": Place("engines", ("engines.lmdb_store", "engines.lmdb_walk")),
    "engines.lmdb_walk": Place(
        "engines",
        (
            "engines.base",
            "engines.envelope",
            "engines.helper",
            "engines.lmdb_batch",
            "engines.lmdb_store",
        ),
    ),
    "engines.logged": Place(
        "engines",
        (
            "engines.departures",
            "engines.expiry",
            "engines.capacity",
            "engines.base",
            "engines.refusals",
            "engines.slots",
            "engines.staging",
            "engines.upkeep",
        ),
    ),
    "engines.memory": Place(
        "engines",
        (
            "engines.departures",
            "engines.expiry",
            "engines.base",
            "engines.capacity",
            "engines.slots",
        ),
    ),
    "engines.memory_reader": Place(
        "engines",
        (
            "engines.auditing",
            "engines.backup",
            "engines.base",
            "engines.identity",
            "engines.memory_table",
            "engines.opening",
            "engines.read_only",
        ),
    ),
    "engines.memory_table": Place(
        "engines",
        ("engines.expiry", "engines.base", "engines.slots", "engines.staging"),
    ),
    "engines.memtable": Place("engines", ("engines.slots", "engines.staging")),
    "engines.merging": Place(
        "engines",
        (
            "engines.envelope",
            "engines.lmdb_store",
            "engines.memtable",
            "engines.read_cache",
            "engines.slots",
        ),
    ),
    "engines.next_fold": Place("engines", ("engines.fold_helper",)),
    "engines.offline": Place("engines", ("engines.auditing", "engines.identity")),
    "engines.opening": Place(
        "engines",
        (
            "engines.base",
            "engines.identity",
            "engines.lmdb_store",
            "engines.lmdb_trust",
            "engines.memtable",
            "engines.slots",
        ),
    ),
    "engines.persistent": Place(
        "engines",
        (
            "engines.departures",
            "engines.expiry",
            "engines.disk_limits",
            "engines.backup_helper",
            "engines.base",
            "engines.committer",
            "engines.envelope",
            "engines.lmdb_walk",
            "engines.refusals",
            "engines.shared_store",
            "engines.shared_writes",
            "engines.slots",
        ),
    ),
    "engines.read_cache": Place("engines", ("engines.slots",)),
    "engines.read_only": Place(
        "engines",
        ("engines.base", "engines.identity", "engines.refusals", "engines.slots"),
    ),
    "engines.refusals": Place("engines"),
    "engines.registered": Place("engines", ("engines.base",)),
    "engines.replay_helper": Place("engines", ("engines.helper",)),
    "engines.memory_budget": Place("engines", ("engines.costs",)),
    "engines.reports": Place("engines"),
    "engines.shared_store": Place(
        "engines",
        (
            "engines.base",
            "engines.identity",
            "engines.lmdb_store",
            "engines.lmdb_trust",
            "engines.lmdb_walk",
        ),
    ),
    "engines.shared_writes": Place(
        "engines",
        (
            "engines.departures",
            "engines.disk_limits",
            "engines.base",
            "engines.commit_queue",
            "engines.envelope",
            "engines.lmdb_batch",
            "engines.slots",
        ),
    ),
    "engines.slots": Place("engines", ("engines.base",)),
    "engines.staging": Place("engines", ("engines.slots",)),
    "engines.upkeep": Place("engines", ("engines.helper",)),
    "inspection.*": Place("inspection"),
    "wal.*": Place("log"),
    "aof.*": Place("log"),
    "net_ops": Place("segment", ("log_reader",)),
    "log_writer": Place(
        "segment", ("", "durability", "group_commit", "log_reader", "segment")
    ),
    "log_reader": Place("segment", ("segment",)),
    "durability": Place("segment"),
    "segment": Place("segment"),
    "group_commit": Place("segment"),
    "frame": Place("format"),
    "ops": Place("format", ("frame",)),
    "codec": Place("format", ("attributes", "failures", "packing", "serializers")),
    "serializers": Place("format", ("packing", "failures")),
    "packing": Place("format", ("exttypes", "failures")),
    "cuckoo": Place("format"),
    "filter_format": Place("format", ("cuckoo",)),
    "exttypes": Place("format"),
    "failures": Place("format"),
    "metafile": Place("storage", ("storage.*",)),
    "storage.*": Place(
        "storage",
        ("liveness", "locking", "mounts", "os_errors", "os_file", "read_file"),
    ),
    "os_file": Place("storage", ("os_errors",)),
    "read_file": Place("storage", ("os_errors",)),
    "os_errors": Place("storage"),
    "liveness": Place("storage"),
    "mapped_pages": Place("storage"),
    "locking": Place("storage", ("os_errors",)),
    "mounts": Place("storage"),
    "paths": Place("storage"),
    "options": Place("base", ("errors",)),
    "checksum": Place("base"),
    "errors": Place("base"),
}

# What a layer must not import although it lies lower: layers or modules, and why.
NEVER = {
    "cache": (("wal.*", "aof.*", "segment", "frame"), "the cache knows engines only"),
    "format": (("storage",), "bytes in, values out: a format touches no storage"),
}

# All that the package's __init__.py may import: layers or modules.
PUBLIC = ("cache", "engines", "options", "errors")

# Modules of the standard library that mean I/O, a clock or a lock.
IMPURE = frozenset(
    "_thread asyncio concurrent fcntl glob io mmap multiprocessing os pathlib queue "
    "sched select selectors shutil signal socket subprocess tempfile threading "
    "time".split()
)


def check(root: Path) -> list[Problem]:
    """Return every import below root that breaks the rule."""
    modules = load(root)
    known = {module.name for module in modules}
    problems = []
    for module in modules:
        if _listed(module.name) is None:
            problems.append(
                module.problem(
                    1,
                    f"module {module.name!r} is not listed: "
                    "add a line for it to MODULES in tools/check_imports.py",
                )
            )
            continue
        for item in module.imports():
            fault = _fault(module, item, known)
            if fault:
                problems.append(module.problem(item.line, fault))
    # "from m import a, b" is one fault, not one for each name.
    return list(dict.fromkeys(problems))


def _listed(name: str) -> str | None:
    """Return the key of MODULES that covers a module, the exact name first."""
    if name in MODULES:
        return name
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        key = ".".join([*parts[:length], "*"])
        if key in MODULES:
            return key
    return None


def _fault(module: Module, item: Import, known: set[str]) -> str | None:
    """Say what is wrong with one import, or return None."""
    source = _listed(module.name)
    if source is None:
        return None
    if item.module.split(".")[0] != PACKAGE:
        outside = item.module.split(".")[0]
        if MODULES[source].layer == "format" and outside in IMPURE:
            return f"imports {outside}: a format does no I/O, no clock, no locks"
        return None
    name = _target(item, known)
    target = _listed(name)
    shown = f"{PACKAGE}.{name}".rstrip(".")
    if target is None:
        return f"imports {shown}, which is not listed in MODULES"
    reason = _forbidden(source, target)
    return f"imports {shown}: {reason}" if reason else None


def _target(item: Import, known: set[str]) -> str:
    """Return the name of the module that an import inside the package reaches."""
    name = item.dotted.removeprefix(PACKAGE).removeprefix(".")
    # "from m import x": x is a module of its own, or a name in m.
    if item.name and name not in known:
        return item.module.removeprefix(PACKAGE).removeprefix(".")
    return name


def _forbidden(source: str, target: str) -> str | None:
    """Say why one listed module must not import another, or return None."""
    here, there = MODULES[source], MODULES[target]
    if source == target:
        return None
    if source == "" and not {target, there.layer} & set(PUBLIC):
        return "the package itself imports its public modules only"
    if there.layer == "top" and source != "__main__":
        return "nothing imports the top layer"
    if here.layer == there.layer:
        listed = target in here.beside
        return None if listed else f"not listed beside {source!r} in its layer"
    if LAYERS.index(there.layer) < LAYERS.index(here.layer):
        return f"layer {there.layer!r} lies above {here.layer!r}"
    never, reason = NEVER.get(here.layer, ((), ""))
    return reason if {target, there.layer} & set(never) else None


if __name__ == "__main__":
    sys.exit(main(check))
