"""One example of every shipped protocol, for what all of them must do."""

import csv
from pathlib import Path

REGION = {"use": "region", "keypoint": "snout", "circle": [0, 0, 30]}

EXAMPLES = {
    "region": {"keypoint": "snout", "circle": [0, 0, 30], "hysteresis": 5},
    "speed": {"keypoint": "snout", "above": 150, "hysteresis": 20},
    "posture": {"measure": "angle", "keypoints": ["snout", "neck", "tail"], "below": 150},
    "heading": {"tail": "neck", "head": "snout", "direction_deg": 0, "hysteresis_deg": 10},
    "phase": {"keypoint": "snout", "relative_to": "tail", "axis": "x", "least_range": 20},
    "sequence": {"steps": [{"condition": REGION}, {"condition": {"use": "speed", "keypoint": "snout", "above": 100}}]},
    "input": {"input": "box.lick", "count": 2, "only_if": [REGION]},
    "schedule": {"every_s": 0.3, "jitter_s": 0.2},
    "yoked": {"file": "times.csv"},
    "sham": {"of": {**REGION, "output": "box.laser", "probability": 0.5}, "output": "box.light"},
}
"""Name of the entry point → settings, but for the output."""

STEREO = {"region", "speed", "posture", "heading", "phase", "sequence", "input"}
"""Those that look at points, and so can look at the world."""


def settings(name: str, folder: Path, world: bool = False) -> dict:
    """All settings of an example; writes the table that ``yoked`` reads."""
    with (folder / "times.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["time_s"], ["0.25"], ["0.5"], ["1.75"]])
    table = {"output": "box.laser", "probability": 0.8, **EXAMPLES[name]}
    if name == "sham":
        del table["probability"]
    return _in_world(table) if world and name in STEREO else table


def _in_world(table: dict) -> dict:
    """The same example for points in mm."""
    looks = {"keypoint", "keypoints", "tail"} & table.keys()
    table = {**table, "space": "world"} if looks else dict(table)
    for key in ("only_if", "steps"):
        if key in table:
            table[key] = [_in_world(inner) for inner in table[key]]
    if "condition" in table:
        table["condition"] = _in_world(table["condition"])
    return table
