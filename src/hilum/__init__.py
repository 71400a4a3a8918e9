"""Hilum: from a folder of chest radiographs to a trained, honestly evaluated pneumonia classifier.

Research software, not a medical device.
"""

from importlib.metadata import version

__version__ = version("hilum")
