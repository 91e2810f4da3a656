"""Folders, names and videos: which picture is of which camera and moment."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from poseloop.live.errors import DataError
from poseloop.train.calibrate import detect, sources
from poseloop.train.calibrate.board import Board

PICTURE = np.full((48, 64), 90, np.uint8)


def _shot(file: Path, picture: np.ndarray = PICTURE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), picture)


def _video(file: Path, count: int, rate: int = 10) -> None:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 10 * k, np.uint8), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())


def test_a_folder_for_each_camera_with_the_experiments_videos_beside(tmp_path: Path) -> None:
    for name in ("back", "top"):
        for number in (3, 11):
            _shot(tmp_path / name / "calibration_images" / f"{name}-0222-{number}.jpg")
        _video(tmp_path / name / "session.mp4", 2)
    found = sources.find(tmp_path)
    assert [one.camera for one in found] == ["back", "top"]
    assert [moment for moment, _ in found[0].frames()] == [3, 11]


def test_pictures_named_after_cameras(tmp_path: Path) -> None:
    for name in ("left01", "left02", "right_02"):
        _shot(tmp_path / f"{name}.png")
    found = {one.camera: sorted(one.files) for one in sources.find(tmp_path)}
    assert found == {"left": [1, 2], "right": [2]}


def test_videos_with_a_table_of_times(tmp_path: Path) -> None:
    _video(tmp_path / "cam_0.mp4", 4)
    _video(tmp_path / "cam_1.mp4", 3)
    lines = ["sync_index,cam_id,frame_index,frame_time"]
    lines += [f"{k},0,{k},0" for k in (7, 8, 9, 10)] + [f"{k},1,{k},0" for k in (7, 9, 10)]
    (tmp_path / "timestamps.csv").write_text("\n".join(lines))
    zero, one = sources.find(tmp_path)
    assert [moment for moment, _ in one.frames()] == [7, 9, 10]
    assert (zero.length(), one.length()) == (4, 3)
    assert float(zero.picture(9).mean()) == pytest.approx(20, abs=3)


def test_sources_by_name(tmp_path: Path) -> None:
    _video(tmp_path / "x.mp4", 2)
    _shot(tmp_path / "shots" / "1.png")
    found = sources.parse([f"a={tmp_path / 'x.mp4'}", f"b={tmp_path / 'shots'}"])
    assert [one.camera for one in found] == ["a", "b"]


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        sources.find(tmp_path / "none")
    with pytest.raises(DataError, match="no pictures or videos"):
        sources.find(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="cannot be opened"):
        sources.find(tmp_path)[0].length()
    (tmp_path / "a.mp4").unlink()
    _shot(tmp_path / "top.png")
    with pytest.raises(DataError, match=r"left07\.png"):
        sources.find(tmp_path)


def test_two_sizes_of_one_camera_are_refused_with_both(tmp_path: Path) -> None:
    _shot(tmp_path / "top1.png")
    _shot(tmp_path / "top2.png", np.zeros((96, 128), np.uint8))
    with pytest.raises(DataError, match=r"'top': top2.png has 128 x 96 px.*64 x 48"):
        detect.look(sources.find(tmp_path)[0], Board(type="chessboard", squares=(7, 6), square_mm=3))


def test_damaged_pictures_and_videos_are_named_with_what_to_do(tmp_path: Path) -> None:
    _shot(tmp_path / "top1.png")
    (tmp_path / "top2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"top2\.png: .* copy it again"):
        list(sources.find(tmp_path)[0].frames())
    (tmp_path / "v").mkdir()
    _video(tmp_path / "v" / "top.mp4", 8)
    (tmp_path / "v" / "top.mp4").write_bytes((tmp_path / "v" / "top.mp4").read_bytes()[:-300])
    with pytest.raises(DataError, match=r"top\.mp4: .*was it cut off"):
        sources.find(tmp_path / "v")[0].length()


def test_late_pictures_and_frames_are_moved_and_keep_their_names(tmp_path: Path) -> None:
    for number in (4, 5, 6):
        _shot(tmp_path / "shots" / f"{number}.png")
    _video(tmp_path / "a.mp4", 6)
    shots, video = sources.parse([f"s={tmp_path / 'shots'}", f"v={tmp_path / 'a.mp4'}"])
    shots, video = sources.late(shots, 2), sources.late(video, 1)
    assert [moment for moment, _ in shots.frames()] == [2, 3, 4]
    assert shots.name_of(2) == "4.png"
    assert [moment for moment, _ in video.frames(2)] == [0, 2, 4]
    assert video.name_of(2) == "a.mp4, frame 3"
    assert float(video.picture(2).mean()) == pytest.approx(30, abs=3)


def test_numbers_that_never_meet_and_unlike_frame_rates_are_told(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 2), ("c", 100)):
        for number in range(first, first + 5):
            _shot(tmp_path / "in" / name / f"{number}.png")
    found = sources.find(tmp_path / "in")
    sources.check_numbers(found[:2])
    with pytest.raises(DataError, match=r"'c': none of its pictures \(numbers 100 to 104\).*\(0 to 6\)"):
        sources.check_numbers(found)
    for name, rate in (("x", 10), ("y", 20)):
        _video(tmp_path / f"{name}.mp4", 4, rate)
    words = sources.unlike_rates(sources.find(tmp_path))
    assert words is not None
    assert "x 10, y 20 a second" in words
    assert sources.unlike_rates(sources.find(tmp_path)[:1] * 2) is None
