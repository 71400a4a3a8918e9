"""Where the lungs are in a chest radiograph."""

from hilum.data.lungs.masks import black_out, find_boxes, widen
from hilum.data.lungs.segmentation import LungMask, find_lungs, segment_all, segment_lungs

__all__ = ["LungMask", "black_out", "find_boxes", "find_lungs", "segment_all", "segment_lungs", "widen"]
