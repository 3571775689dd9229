"""Read sealed increments ahead of the engine that loads them, in another process.

`python -m hypercache.engines.replay_helper STORE UUID EXTENT` reads and verifies what
EXTENT (JSON) names with the code that the engine would read it with, and writes the
payloads to its standard output, so that the engine only has to unpack them. STORE
stays locked by the engine that started it.

Each message is a header and as many bytes as it says. The last one has LSN 0 and tells,
as JSON, how far the log was read; without it nothing counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import gc
import io
import json
import logging
import os
import select
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

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
_EARLY_BYTES = 64 * MIB  # read by the engine before it listens to the helper
_OUTBOX_BYTES = 64 * MIB  # kept by the helper until the engine listens
_HEAD = struct.Struct("<QII")  # LSN of the first op, op count, length


class HelperFailedError(Exception):
    """Tell the load, and nobody else, to read everything itself."""


class ReadAhead:
    """The increments that a helper reads; closing it ends the helper."""

    _progress: Progress  # what its last message says

    def __init__(
        self, process: subprocess.Popen[bytes], extent: Extent, path: str
    ) -> None:
        self._process, self._extent, self._path = process, extent, path

    def beside(self, reader: LogReader) -> Iterator[tuple[int, Unpacked]]:
        """Yield what the reader would, which then goes on behind that.

        Raises:
            HelperFailedError: the helper stopped, or said something odd.
        """
        # While the helper starts, and after that fills its outbox.
        reader.read_last_early(_EARLY_BYTES)
        lsn = 0
        try:
            for packed in self._packed():
                if lsn not in (0, packed.lsn):
                    raise ValueError(f"LSN {packed.lsn} where {lsn} must follow")
                lsn = packed.lsn + packed.op_count
                found = packed.unpack(self._extent.floor_lsn)
                if found is not None:
                    yield found
            reader.go_on_behind(self._checked(lsn))
        except (ValueError, TypeError, OSError) as error:
            raise HelperFailedError(str(error)) from error

    def close(self) -> None:
        """End the helper, wait for it, and let go of its pipes."""
        helper.end(self._process)

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
                self._progress = _progress(payload)
                return
            yield Packed(self._path, lsn, op_count, payload)

    def _checked(self, lsn: int) -> Progress:
        progress = self._progress
        reads_all = list(progress.ends) == list(self._extent.numbers)
        if not reads_all or lsn not in (0, progress.next_lsn):
            raise ValueError("it did not read all of the increments")
        return progress


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


class _Outbox:
    """Messages on their way into a pipe, whose reader may come later."""

    def __init__(self, pipe: io.FileIO) -> None:
        flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
        fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        # Where it cannot be enlarged, messages go in smaller pieces.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._pipe = pipe
        self._pieces: deque[memoryview] = deque()
        self._bytes = 0

    def add(self, lsn: int, op_count: int, payload: bytes) -> None:
        """Send a message, now or later; wait while there are too many of them."""
        head = _HEAD.pack(lsn, op_count, len(payload))
        self._pieces += memoryview(head), memoryview(payload)
        self._bytes += len(head) + len(payload)
        self.send(_OUTBOX_BYTES)

    def send(self, most_bytes: int = 0) -> None:
        """Write what the pipe takes; wait until no more than so much is left."""
        pieces = self._pieces
        while pieces:
            done = self._pipe.write(pieces[0]) if pieces[0] else 0
            if done is None:
                if self._bytes <= most_bytes:
                    return
                select.select([], [self._pipe], [])
                continue
            self._bytes -= done
            pieces[0] = pieces[0][done:]
            if not pieces[0]:
                pieces.popleft()


def main(root: str, uuid: str, fields: str) -> None:
    """Write the payloads of all ops in the extent, and how far it goes."""
    helper.end_with_parent()
    gc.disable()
    pipe: Any = sys.stdout.buffer
    outbox = _Outbox(getattr(pipe, "raw", pipe))  # with PYTHONUNBUFFERED it is raw
    increments = StorePaths(root).increments
    extent = Extent(**json.loads(fields))
    log = LogReader(OsStorage(), increments, bytes.fromhex(uuid), extent)
    for packed in log.packed():
        outbox.add(packed.lsn, packed.op_count, packed.payload)
    next_lsn, facts, ends = log.progress
    numbered = [(number, *end) for number, end in ends.items()]
    outbox.add(0, 0, json.dumps([next_lsn, facts, numbered]).encode())
    outbox.send()


if __name__ == "__main__":
    main(*sys.argv[1:])
