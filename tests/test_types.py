import numpy as np
import pytest

from poseloop.live.types import ALL_LINES, CameraFormat, Colour, Command, CommandKind, Keypoints


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": CommandKind.PULSE},  # a duration of 0 must never mean "for ever"
        {"kind": CommandKind.PULSE, "on_us": -1},
        {"kind": CommandKind.PULSE, "on_us": 10, "count": 2},
        {"kind": CommandKind.LEVEL, "on_us": 10},
        {"kind": CommandKind.TRAIN, "on_us": 10, "period_us": 10, "count": 2},
        {"kind": CommandKind.TRAIN, "on_us": 10, "period_us": 20},
        {"kind": CommandKind.OFF, "delay_us": 10},
        {"kind": CommandKind.CAMERA, "on_us": 10, "period_us": 10},
        {"kind": CommandKind.CAMERA, "on_us": 10, "period_us": 20, "delay_us": 5},
        {"kind": CommandKind.SYNC, "code": 5},
        {"kind": CommandKind.SYNC, "on_us": 10, "code": -1},
        {"kind": CommandKind.PULSE, "on_us": 10, "code": 5},
        {"kind": CommandKind.LEVEL, "line": ALL_LINES},
    ],
    ids=str,
)
def test_commands_that_contradict_themselves_cannot_be_made(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Command(**{"device": "box", "line": "laser", **wrong})  # type: ignore[arg-type]


def test_times_are_whole_microseconds() -> None:
    command = Command("box", "laser", CommandKind.PULSE, on_us=np.int64(5))  # type: ignore[arg-type]
    assert type(command.on_us) is int
    for wrong in (5000.5, float("inf"), "5"):
        with pytest.raises(TypeError):
            Command("box", "laser", CommandKind.PULSE, on_us=wrong)  # type: ignore[arg-type]


def test_repr_shows_shapes_and_not_a_thousand_numbers() -> None:
    keypoints = Keypoints(np.zeros((2, 1, 500, 2), np.float32), np.zeros((2, 1, 500), np.float32))
    assert repr(keypoints) == "Keypoints(xy=float32[2, 1, 500, 2], score=float32[2, 1, 500])"


def test_format_tells_the_shape_of_a_frame() -> None:
    assert CameraFormat(640, 480, Colour.GREY, 30).shape == (480, 640)
    assert CameraFormat(640, 480, Colour.RGB, 30).shape == (480, 640, 3)
