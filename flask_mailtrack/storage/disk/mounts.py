"""On what kind of file system a spool is, and what that means for it."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "fuse.glusterfs"}
_PASSING = {"tmpfs", "ramfs"}


def weakness(path: Path) -> str:
    """Say why the file system of *path* is no good place for a spool; empty if it is one."""
    try:
        kind = file_system(path, Path("/proc/self/mountinfo").read_text())
    except OSError:  # not Linux
        return ""
    return judged(kind)


def judged(kind: str) -> str:
    """Say what is wrong with a kind of file system; empty if nothing is."""
    if kind in _NETWORK:
        return f"{kind}: locks (flock) and appends (O_APPEND) of several machines are not safe there"
    if kind in _PASSING:
        return f"{kind}: what waits there is lost on reboot"
    return ""


def file_system(path: Path, mountinfo: str) -> str:
    """Return the kind of file system that holds *path*, which need not be there yet.

    :param mountinfo: the text of ``/proc/self/mountinfo`` (proc(5)); of several mounts on one point the last counts.
    """
    wanted = os.path.realpath(path)
    best, kind = "", ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields, about = mount.split(), source.split()
        if len(fields) < 5 or not about:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = point == "/" or wanted == point or wanted.startswith(f"{point}/")
        if inside and len(point) >= len(best):
            best, kind = point, about[0]
    return kind
