"""Where the lungs are in a chest radiograph."""

from hilum.data.lungs.segmentation import LungMask, find_lungs, segment_all, segment_lungs

__all__ = ["LungMask", "find_lungs", "segment_all", "segment_lungs"]
