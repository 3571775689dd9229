"""The hot calls, one thousand of each, with `os.getppid` between them.

Run by `instructions_of`. What comes first is the floor: what a durable write or a read
cannot do without, in the fewest calls.
"""

import gc
import os
import struct
import sys
import threading

import msgpack

from hypercache import Cache
from hypercache.checksum import crc32c

COUNT = 1000
VALUE = bytes(100)
KEYS = [b"%016d" % number for number in range(COUNT)]


class Floor:
    """Pack, checksum, copy into the log, store; look up."""

    def __init__(self):
        self.table, self.lock, self.log = {}, threading.RLock(), bytearray(1 << 20)
        self.pack, self.end = msgpack.Packer().pack, 0
        self.head = struct.Struct("<IIQQIBBH").pack

    def set(self, key, value):
        with self.lock:
            payload = self.pack((1, key, value))
            head = self.head(crc32c(payload), len(payload), 1, 0, 1, 1, 0, 2)
            start, self.end = self.end, self.end + len(head) + len(payload)
            self.log[start : self.end] = head + payload
            self.table[key] = value

    def get(self, key):
        return self.table.get(key)


def set_all(put):
    for key in KEYS:
        put(key, VALUE)


def get_all(get):
    for key in KEYS:
        get(key)


def main(directory):
    gc.disable()
    floor = Floor()
    # Without syncs: how many there are depends on the time that the counting takes.
    options = {"serializer": "bytes", "sync": "no"}
    subjects = (
        Cache(),
        Cache(f"{directory}/memory", engine="memory", **options),
        Cache(f"{directory}/hybrid", **options),
    )
    for cache in subjects:  # threads started, tables grown
        set_all(cache.set)
        get_all(cache.get)
    set_all(floor.set)
    for subject in (floor, *subjects):
        os.getppid()
        set_all(subject.set)
        os.getppid()
        get_all(subject.get)
    os.getppid()
    os._exit(0)  # what a close does is counted by nobody


if __name__ == "__main__":
    main(sys.argv[1])
