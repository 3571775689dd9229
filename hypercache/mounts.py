"""Tell what kind of file system a path is on, and what it promises."""

from __future__ import annotations

import re

# Where posix_fallocate really reserves blocks, so that a store into the map cannot
# meet a full disk, which the kernel reports as SIGBUS.
RESERVING_MOUNTS = frozenset({"ext4", "xfs", "tmpfs"})
NETWORK_MOUNTS = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p ceph afs lustre gpfs glusterfs fuse.glusterfs "
    "fuse.sshfs beegfs ocfs2 gfs2 virtiofs".split()
)
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the mount table writes a space


def mount_type_in(table: str, path: str) -> str:
    """Return the type of the innermost mount that holds `path`.

    The table is in the format of proc(5), /proc/pid/mountinfo.
    """
    best, kind = "", ""
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), left.split(" ")[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind
