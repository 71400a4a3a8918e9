"""Synthetic chest radiographs for demonstrations and tests.

A simple model of projection: thicknesses of tissue, air and bone along each ray give an attenuation, attenuation gives
the counts of the detector with their noise, and a display curve gives the picture. Exposure, noise, size, marker and
pose are drawn without regard to the label, so that nothing but the lungs tells the classes apart.
"""

from hilum.data.phantom.anatomy import Anatomy, draw_anatomy
from hilum.data.phantom.drawing import Phantom, draw_phantom, render_phantom
from hilum.data.phantom.opacity import Finding, draw_finding
from hilum.data.phantom.writing import is_phantom, write_phantoms

__all__ = [
    "Anatomy",
    "Finding",
    "Phantom",
    "draw_anatomy",
    "draw_finding",
    "draw_phantom",
    "is_phantom",
    "render_phantom",
    "write_phantoms",
]
