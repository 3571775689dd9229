"""Read sealed increments ahead of the engine that loads them, in another process.

`python -m hypercache.engines.replay_helper STORE UUID EXTENT` reads and verifies what
EXTENT (JSON) names with the code that the engine would read it with, and writes the
payloads to its standard output, so that the engine only has to unpack them. STORE
stays locked by the engine that started it.

Each message is a header and as many bytes as it says. The last one has LSN 0 and tells,
as JSON, how far the log was read; without it nothing counts.
"""

from __future__ import annotations

import dataclasses
import fcntl
import gc
import json
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import BinaryIO

from hypercache.engines import helper
from hypercache.log_reader import Extent, LogReader, Packed, Progress, SegmentEnd
from hypercache.ops import Unpacked
from hypercache.options import MIB, Maintenance
from hypercache.paths import StorePaths
from hypercache.segment import SealedFacts
from hypercache.storage import OsStorage, Storage

_log = logging.getLogger(__name__)
# Below that, starting an interpreter takes longer than it saves.
MIN_BYTES = 16 * MIB
_PIPE_BYTES = MIB
_HEAD = struct.Struct("<QII")  # LSN of the first op, op count, length


class HelperFailedError(Exception):
    """Tell the load, and nobody else, to read everything itself."""


class ReadAhead:
    """The increments that a helper reads; closing it ends the helper.

    `progress` says how far it came, once `unpacked` is exhausted.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], extent: Extent, path: str
    ) -> None:
        self._process, self._extent, self._path = process, extent, path
        self.progress: Progress | None = None

    def unpacked(self) -> Iterator[tuple[int, Unpacked]]:
        """Yield what `LogReader.unpacked` would.

        Raises:
            HelperFailedError: the helper stopped, or said something odd.
        """
        lsn = 0
        try:
            for packed in self._packed():
                if lsn not in (0, packed.lsn):
                    raise ValueError(f"LSN {packed.lsn} where {lsn} must follow")
                lsn = packed.lsn + packed.op_count
                found = packed.unpack(self._extent.floor_lsn)
                if found is not None:
                    yield found
            self._check(lsn)
        except (ValueError, TypeError, OSError) as error:
            raise HelperFailedError(str(error)) from error

    def close(self) -> None:
        """End the helper, wait for it, and let go of its pipes."""
        process = self._process
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _packed(self) -> Iterator[Packed]:
        pipe = self._process.stdout
        assert pipe is not None
        while True:
            head = pipe.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise ValueError("it stopped")
            lsn, op_count, length = _HEAD.unpack(head)
            payload = pipe.read(length)
            if len(payload) < length:
                raise ValueError("it stopped in the middle of a message")
            if lsn == 0:
                self.progress = _progress(payload)
                return
            yield Packed(self._path, lsn, op_count, payload)

    def _check(self, lsn: int) -> None:
        progress = self.progress
        if (
            progress is None
            or lsn not in (0, progress.next_lsn)
            or list(progress.ends) != list(self._extent.numbers)
        ):
            raise ValueError("it did not read all of the increments")


def maybe_start(
    storage: Storage, paths: StorePaths, uuid: bytes, extent: Extent, where: Maintenance
) -> ReadAhead | None:
    """Let a helper begin to read the increments but for the last one.

    None where it would not pay, or cannot start.
    """
    if where is Maintenance.INLINE or _cpu_count() < 2:
        return None
    ahead = dataclasses.replace(
        extent, active_segment=extent.active_segment - 1, clean=True
    )
    if _bytes_of(storage, paths, ahead) < MIN_BYTES:
        return None
    fields = json.dumps(dataclasses.asdict(ahead))
    process = helper.maybe_start(__name__, paths.root, uuid.hex(), fields)
    return ReadAhead(process, ahead, paths.aof) if process is not None else None


def log_failure(error: HelperFailedError) -> None:
    """Log that a helper failed; the work is done in another way."""
    _log.warning("the helper of a load failed: %s", error)


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0))


def _bytes_of(storage: Storage, paths: StorePaths, extent: Extent) -> int:
    infos = (storage.info(paths.increments.segment(n)) for n in extent.numbers)
    return sum(info.size_bytes for info in infos if info is not None)


def _progress(payload: bytes) -> Progress:
    next_lsn, facts, ends = json.loads(payload)
    numbered = {number: SegmentEnd(lsn, length) for number, lsn, length in ends}
    return Progress(next_lsn, SealedFacts(*facts), numbered)


def main(root: str, uuid: str, fields: str) -> None:
    """Write the payloads of all ops in the extent, and how far it goes."""
    helper.end_with_parent()
    gc.disable()
    out = sys.stdout.buffer
    _enlarge(out)
    increments = StorePaths(root).increments
    extent = Extent(**json.loads(fields))
    log = LogReader(OsStorage(), increments, bytes.fromhex(uuid), extent)
    for packed in log.packed():
        head = _HEAD.pack(packed.lsn, packed.op_count, len(packed.payload))
        out.write(head)
        out.write(packed.payload)
    next_lsn, facts, ends = log.progress
    numbered = [(number, *end) for number, end in ends.items()]
    said = json.dumps([next_lsn, facts, numbered]).encode()
    out.write(_HEAD.pack(0, 0, len(said)) + said)
    out.flush()


def _enlarge(pipe: BinaryIO) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (OSError, AttributeError):
        pass  # the helper then runs ahead by less


if __name__ == "__main__":
    main(*sys.argv[1:])
