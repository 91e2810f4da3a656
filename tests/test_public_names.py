"""What other people's scripts call: stable from the first release. A change here is a change for all of them."""

import importlib
import inspect

import pytest

PUBLIC = {
    "poseloop.live.vision": {"Network": ["open", "keypoints", "infer"]},
    "poseloop.live.geometry": {"Calibration": ["load", "save", "names", "project", "undistort"], "triangulate": []},
    "poseloop.live.output": {"Subscriber": ["__iter__", "close"]},
    "poseloop.protocols": {
        "Protocol": [
            "Settings",
            "needs",
            "outputs",
            "camera",
            "reset",
            "decide",
            "point",
            "seen",
            "random",
            "note",
            "follow",
            "see",
            "pulse",
            "train",
            "on",
            "off",
        ],
        "StateMachine": ["start", "goto", "do", "set_timer", "stop_timer", "where", "note_now"],
        "Triggered": ["Settings", "occasion"],
        "Rehearsal": ["show", "run", "restart"],
    },
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_there_and_documented(module: str) -> None:
    for name, members in PUBLIC[module].items():
        found = getattr(importlib.import_module(module), name)
        assert name in importlib.import_module(module).__all__
        assert inspect.getdoc(found)
        for member in members:
            assert hasattr(found, member)


def test_signatures_that_scripts_rely_on() -> None:
    from poseloop.live.geometry import triangulate
    from poseloop.live.output import Subscriber
    from poseloop.live.vision import Network

    assert list(inspect.signature(Network.open).parameters)[:2] == ["model", "provider"]
    assert inspect.signature(Network.open).parameters["provider"].default == "cpu"
    assert list(inspect.signature(Network.infer).parameters) == ["self", "images"]
    assert list(inspect.signature(triangulate).parameters)[:3] == ["calibration", "xy", "score"]
    assert inspect.signature(triangulate).parameters["score"].default is None
    assert next(iter(inspect.signature(Subscriber).parameters)) == "endpoint"
