import os
import subprocess
import sys

import pytest

from hilum.inference.cpus import count_cpus, read_quota

pytestmark = pytest.mark.unit


@pytest.fixture
def groups(tmp_path):
    """A function that writes files below a root of control groups and the membership, and reads the quota."""

    def read(membership, **files):
        root = tmp_path / "cgroup"
        for name, content in files.items():
            path = root / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "membership").write_text(membership)
        return read_quota(root, tmp_path / "membership")

    return read


def test_version_2_takes_the_smallest_quota_of_the_group_and_those_around_it(groups):
    files = {
        "cpu_dot_max": "max 100000\n",
        "a__cpu_dot_max": "150000 100000\n",
        "a__b__cpu_dot_max": "400000 100000\n",
    }
    assert groups("0::/a/b\n", **files) == 1.5
    assert groups("0::/\n", **files) is None


def test_inside_a_container_the_root_has_the_quota(groups):
    assert groups("0::/\n", cpu_dot_max="50000 100000\n") == 0.5


def test_version_1_reads_the_cpu_controller(groups):
    files = {"cpu,cpuacct__job__cpu.cfs_quota_us": "300000", "cpu,cpuacct__job__cpu.cfs_period_us": "100000"}
    assert groups("4:memory:/other\n3:cpu,cpuacct:/job\n", **files) == 3
    assert groups("3:cpu,cpuacct:/job\n", **{"cpu,cpuacct__job__cpu.cfs_quota_us": "-1"}) is None


@pytest.mark.parametrize("content", ["", "nonsense", "100000 0", "max 100000"])
def test_a_quota_that_says_nothing_is_none(groups, content):
    assert groups("0::/\n", cpu_dot_max=content) is None


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert read_quota(tmp_path, tmp_path / "missing") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity mask")
def test_the_affinity_mask_counts():
    code = (
        "import os; from hilum.inference.cpus import count_cpus; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(count_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert 1 <= count_cpus() <= len(os.sched_getaffinity(0))
