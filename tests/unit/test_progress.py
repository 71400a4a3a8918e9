import io

import pytest
from rich.console import Console
from rich.progress import Progress

from hilum import progress

pytestmark = pytest.mark.unit


def test_silent_unless_enabled(capsys):
    assert list(progress.track([1, 2, 3], description="Scoring", unit="pictures")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_speed_is_that_of_late():
    clock = 0.0
    column = progress.SpeedColumn("pictures")
    bar = Progress(column, console=Console(file=io.StringIO()), get_time=lambda: clock)
    bar.add_task("Scoring", total=None)
    (task,) = bar.tasks
    assert column.render(task).plain == ""
    for _ in range(5):
        clock += 2.0
        bar.advance(task.id, 2500)
    assert column.render(task).plain == "1,250.0 pictures/s"
