import os

import pytest

from hilum.research.workers import _explain_death, deal_cores

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("workers", [1, 2, 3, 64])
def test_each_worker_gets_an_equal_share_of_the_cores(workers):
    cores = os.cpu_count() if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0))
    dealt = deal_cores(workers)
    assert [len(share) for share in dealt] == [max(1, cores // workers)] * workers
    if workers <= cores:
        assert len({core for share in dealt for core in share}) == workers * (cores // workers)


def test_how_a_worker_ended_is_said():
    assert _explain_death(-9).startswith("The worker process was ended by signal SIGKILL; the system does that where")
    assert _explain_death(-11) == "The worker process was ended by signal SIGSEGV."
    assert _explain_death(3) == "The worker process ended unexpectedly (exit code 3)."
