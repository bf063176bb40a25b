"""Receives its flags; hands on what this machine could run models on, as a table or JSON."""

import argparse

from inferneo_core.devices import BackendInfo
from inferneo_server.cli.console import print_json, print_table, size
from inferneo_server.devices import Device, devices
from inferneo_server.transports.devices import describe_backends, describe_device


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Only how it is shown."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(values: argparse.Namespace) -> int:
    """Show the devices, and the engines that are installed for them or could be."""
    found = devices()
    known = describe_backends(found)
    if values.json:
        shown = {"devices": [describe_device(device) for device in found], "backends": known}
        print_json(shown)
        return 0
    print_table(
        ("device", "model", "memory", "free", ""),
        [
            (
                device.name,
                device.model,
                size(device.memory_total),
                size(device.memory_free),
                _note(device),
            )
            for device in found
        ],
    )
    print()
    print_table(
        ("engine", "runs on", "version", ""),
        [(one.engine, one.device_type.lower(), one.version or "-", _told(one)) for one in known],
    )
    return 0


def _note(device: Device) -> str:
    if device.type == "gpu":
        return f"driver {device.driver_version}, CUDA {device.cuda_version}"
    return f"{device.cores:g} cores" if device.cores else ""


def _told(backend: BackendInfo) -> str:
    if backend.available:
        return "available"
    reason = str(backend.reason)
    return f"{reason}; to install it: {backend.install}" if backend.install else reason
