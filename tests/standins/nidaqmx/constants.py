from enum import Enum


class LineGrouping(Enum):
    CHAN_PER_LINE = 0
    CHAN_FOR_ALL_LINES = 1
