"""Is it looking at the lungs? Checks for shortcuts that a classifier of radiographs may take."""

from hilum.evaluation.shortcuts.probe import ShortcutResults, probe_shortcuts
from hilum.evaluation.shortcuts.sample import PictureScorer
from hilum.evaluation.shortcuts.section import report_shortcuts

__all__ = ["PictureScorer", "ShortcutResults", "probe_shortcuts", "report_shortcuts"]
