"""Proves what is told of the CPU, from recorded trees of /proc and of both versions of cgroups."""

from pathlib import Path

import pytest

from inferneo_server.hardware.processors import cpu
from inferneo_server.hardware.rebellions import npus

GIB = 2**30
MEMINFO = (
    "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\nHugePages_Total: 0\n"
)
INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold\n\n"
ARM = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
UNLIMITED_V1 = str(2**63 - 4096)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, {"proc/meminfo": MEMINFO, "proc/cpuinfo": INTEL})
    return tmp_path


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_limits_all_memory_and_all_granted_cores_are_told(root: Path) -> None:
    found = cpu(root, cores=4)

    assert (found.name, found.type, found.index) == ("cpu", "cpu", 0)
    assert (found.vendor, found.model) == ("Intel", "Intel(R) Xeon(R) Gold")
    assert (found.memory_total, found.memory_free, found.cores) == (16 * GIB, 8 * GIB, 4.0)


def test_a_processor_without_a_name_goes_by_its_architecture(root: Path) -> None:
    write(root, {"proc/cpuinfo": ARM})

    found = cpu(root, cores=1)

    assert found.vendor == "Arm"
    assert found.model


def test_a_limit_of_version_2_counts_without_what_can_be_dropped(root: Path) -> None:
    group = "sys/fs/cgroup/system.slice/app.service"
    write(
        root,
        {
            "proc/self/cgroup": "0::/system.slice/app.service\n",
            f"{group}/memory.max": f"{4 * GIB}\n",
            f"{group}/memory.current": f"{3 * GIB}\n",
            f"{group}/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            f"{group}/cpu.max": "150000 100000\n",
        },
    )

    found = cpu(root, cores=4)

    assert (found.memory_total, found.memory_free, found.cores) == (4 * GIB, 2 * GIB, 1.5)


def test_the_tightest_limit_on_the_way_up_counts(root: Path) -> None:
    write(
        root,
        {
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/outer/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/outer/memory.current": f"{GIB}\n",
            "sys/fs/cgroup/outer/cpu.max": "max 100000\n",
            "sys/fs/cgroup/outer/inner/memory.max": "max\n",
            "sys/fs/cgroup/outer/inner/cpu.max": "300000 100000\n",
        },
    )

    found = cpu(root, cores=4)

    assert (found.memory_total, found.memory_free, found.cores) == (2 * GIB, GIB, 3.0)


def test_limits_of_version_1_count(root: Path) -> None:
    write(
        root,
        {
            "proc/self/cgroup": "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n0::/\n",
            "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/docker/a/memory.usage_in_bytes": str(GIB // 2),
            "sys/fs/cgroup/memory/docker/a/memory.stat": "total_inactive_file 0\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_V1,
            "sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )

    found = cpu(root, cores=4)

    assert (found.memory_total, found.memory_free, found.cores) == (GIB, GIB // 2, 0.5)


def test_a_container_that_sees_its_hosts_path_finds_its_limit_at_the_mounts_root(
    root: Path,
) -> None:
    write(
        root,
        {
            "proc/self/cgroup": "4:memory:/docker/not-here\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/memory.usage_in_bytes": str(2 * GIB),
        },
    )

    found = cpu(root, cores=4)

    assert (found.memory_total, found.memory_free) == (GIB, 0)


def test_a_system_without_proc_has_a_cpu_all_the_same(tmp_path: Path) -> None:
    found = cpu(tmp_path)

    assert (found.name, found.memory_total) == ("cpu", 0)
    assert found.cores is not None and found.cores >= 1


def test_each_npu_is_found_by_the_file_of_its_driver(tmp_path: Path) -> None:
    write(tmp_path, {f"dev/{name}": "" for name in ("rbln10", "rbln2", "rbln_ctl", "null")})

    assert [npu.name for npu in npus(tmp_path)] == ["rbln:2", "rbln:10"]
    assert npus(tmp_path / "nowhere") == []
