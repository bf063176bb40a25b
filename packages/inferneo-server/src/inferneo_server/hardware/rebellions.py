"""Receives the root of a file system; hands on the Rebellions NPUs that it has, by their presence.

Source: https://docs.rbln.ai: the driver makes a device file `rbln<n>` for each NPU.
"""

import re
from pathlib import Path

from inferneo_server.hardware.device import Device

_FILE = re.compile(r"rbln(\d+)")


def npus(root: Path = Path("/")) -> list[Device]:
    """The NPUs; the driver tells nothing of their memory without its tools."""
    try:
        files = [_FILE.fullmatch(path.name) for path in (root / "dev").iterdir()]
    except OSError:
        return []
    return [
        Device(
            name=f"rbln:{index}",
            type="rbln",
            index=index,
            vendor="Rebellions",
            model="Rebellions NPU",
        )
        for index in sorted(int(match[1]) for match in files if match)
    ]
