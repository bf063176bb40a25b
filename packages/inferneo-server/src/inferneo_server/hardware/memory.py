"""Receives the root of a file system; hands on what memory the processes of a server take.

Source: proc_pid_stat(5).
"""

import os
from pathlib import Path

GIB = 2**30
_PARENT, _RESIDENT = 1, 21  # behind the name, which may hold spaces


def tree_memory(pid: int, root: Path = Path("/"), page_bytes: int | None = None) -> int:
    """Resident bytes of a process and all that descend from it; 0 where nobody can tell.

    What several of them share is counted for each. Takes a few milliseconds: call it in a thread.
    """
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    for path in (root / "proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        number = int(path.parent.name)
        children.setdefault(int(fields[_PARENT]), []).append(number)
        resident[number] = int(fields[_RESIDENT])
    pages, waiting = 0, [pid]
    while waiting:
        number = waiting.pop()
        pages += resident.get(number, 0)
        waiting += children.get(number, [])
    return pages * (page_bytes or os.sysconf("SC_PAGESIZE"))


def told(size: int) -> str:
    """A size for people, as in `4.2GB`; a GB is 2^30 bytes, and always the unit."""
    number = size / GIB
    text = f"{number:.1f}" if number >= 0.1 else f"{number:.2g}"
    return f"{text.removesuffix('.0')}GB"
