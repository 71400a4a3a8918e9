"""How many processors this process may really use: those of its affinity mask, within the quota of its container."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def count_cpus() -> int:
    """Return the number of processors that the process may keep busy, at least 1.

    The smaller of the affinity mask (taskset, cpuset) and the CPU quota of the control group, rounded up: threads
    beyond a quota are stopped again and again, which costs more than they bring.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def read_quota(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> float | None:
    """Return the CPU quota of the control group in processors (1.5 is one and a half); None where there is none.

    Understands both versions of Linux control groups. The smallest quota counts of the group and of those around it.
    """
    quotas = [quota for folder in _list_groups(root, membership) if (quota := _read_group(folder)) is not None]
    return min(quotas, default=None)


def _list_groups(root: Path, membership: Path) -> list[Path]:
    """Return the folders of the own groups and of all around them. Inside a container the own one is the root."""
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / controllers if controllers else root
        inner = base / path.lstrip("/")
        folders += [inner, *(parent for parent in inner.parents if parent == base or base in parent.parents)]
    return folders


def _read_group(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():  # version 2: "150000 100000", or "max 100000"
            limit, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
        quota = float(limit) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return quota if quota > 0 else None
