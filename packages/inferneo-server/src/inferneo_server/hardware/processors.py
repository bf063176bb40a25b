"""Receives the root of a file system; hands on its CPU, within what this process may use.

A container's limits are its cgroups': both versions are read, and the tightest limit on the way up
counts. Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/memory.html.
"""

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from inferneo_server.hardware.device import Device

_MOUNT = Path("sys/fs/cgroup")
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "0x41": "Arm", "0x61": "Apple"}


def cpu(root: Path = Path("/"), cores: int | None = None) -> Device:
    """The CPU as one device.

    Args:
        root: where `proc` and `sys` stand.
        cores: those that the scheduler grants this process; None asks it.
    """
    granted = cores or _granted_cores()
    memory = _memory(root)
    described = _fields(root / "proc/cpuinfo")
    vendor = described.get("vendor_id") or described.get("CPU implementer", "")
    total = memory.get("MemTotal", 0)
    free = memory.get("MemAvailable", total)
    for limit, used in _memory_limits(root):
        total = min(total, limit)
        free = min(free, max(0, limit - used))
    return Device(
        name="cpu",
        type="cpu",
        index=0,
        vendor=_VENDORS.get(vendor, vendor or platform.machine()),
        model=described.get("model name") or platform.machine(),
        memory_total=total,
        memory_free=free,
        cores=min([float(granted), *_cpu_quotas(root)]),
    )


def _granted_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _fields(path: Path) -> dict[str, str]:
    """The first of each `name : value` line."""
    found: dict[str, str] = {}
    for line in _text(path).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _memory(root: Path) -> dict[str, int]:
    """`/proc/meminfo`, in bytes."""
    return {
        name: int(match[1]) * 1024
        for name, value in _fields(root / "proc/meminfo").items()
        if (match := re.fullmatch(r"(\d+) kB", value))
    }


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """Each limit on this process's memory, and what of it is used and cannot be dropped."""
    names = {
        "v2": ("memory.max", "memory.current", "inactive_file"),
        "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    for version, folder in _groups(root, "memory"):
        limit_file, used_file, dropped = names[version]
        limit = _number(folder / limit_file)
        if limit is not None:
            stat = dict(
                line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if line
            )
            used = (_number(folder / used_file) or 0) - int(stat.get(dropped, 0))
            yield limit, max(0, used)


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Each limit on this process's CPU time, in cores."""
    for version, folder in _groups(root, "cpu"):
        if version == "v2":
            quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
        else:
            quota = _text(folder / "cpu.cfs_quota_us").strip()
            period = _text(folder / "cpu.cfs_period_us").strip()
        # No limit is `max` in version 2, and -1 in version 1.
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _groups(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """The folders of this process's cgroups for a controller, from its own up to the root."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, version = root / _MOUNT, "v2"
        elif controller in controllers.split(","):
            base, version = root / _MOUNT / controllers, "v1"
            if not base.is_dir():
                base = root / _MOUNT / controller
        else:
            continue
        # A container may see its host's path, and only its own folder, as the mount's root.
        folder = base / path.strip("/")
        for level in [folder, *folder.parents]:
            yield version, level
            if level == base:
                break


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """A file of the kernel; one that is not there, or may not be read, says nothing."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
