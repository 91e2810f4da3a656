"""A video gives every frame once, in order, with its number; what is wrong with it is told."""

from pathlib import Path

import numpy as np
import pytest
import recordings

from poseloop.live.errors import DataError
from poseloop.live.types import Colour
from poseloop.train import videos


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.write(tmp_path_factory.mktemp("videos") / "a.mkv", recordings.moving(10))


@pytest.mark.parametrize(("size", "start"), [(1, 0), (4, 0), (4, 3), (20, 9), (3, 10)])
def test_batches_hold_every_frame_once(video: Path, size: int, start: int) -> None:
    expected = recordings.moving(10)[start:]
    found = []
    with videos.opened(video) as opened, videos.batches(opened, size, start) as given:
        for batch in given:
            assert len(batch) <= size
            found.extend(batch.copy())
    np.testing.assert_array_equal(np.array(found).reshape(-1, 64, 96, 3), np.array(expected).reshape(-1, 64, 96, 3))


def test_a_reader_may_be_left_in_the_middle(video: Path) -> None:
    with videos.opened(video) as opened, videos.batches(opened, 1) as given:
        next(given)


def test_pictures_are_shrunk_and_grey(video: Path) -> None:
    with videos.opened(video) as opened:
        assert (opened.width, opened.height, opened.length) == (96, 64, 10)
        small = [opened.picture(Colour.GREY, (24, 16)) for _ in opened.numbers()]
    assert len(small) == 10
    wide = recordings.moving(10)[0].mean(axis=-1)
    expected = wide.reshape(16, 4, 24, 4).mean(axis=(1, 3))
    # Grey weighs the colours: only where they are alike do both agree.
    assert abs(float(small[0].mean()) - float(expected.mean())) < 10


def test_a_video_that_was_cut_off_says_so(video: Path, tmp_path: Path) -> None:
    file = tmp_path / "cut.mkv"
    content = video.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with videos.opened(file) as opened, pytest.raises(DataError, match=r"frame \d of 10"):
        list(opened.numbers())
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"no\.mp4: expected a video"), videos.opened(tmp_path / "no.mp4"):
        pass


def test_folders_and_patterns_name_videos(video: Path, tmp_path: Path) -> None:
    drawn = "bPoseloop_my-mouse_0123abcd.mp4"
    for name in ("b.mp4", "c.AVI", "notes.txt", drawn):
        (tmp_path / name).write_bytes(b"")
    assert videos.find([str(tmp_path)]) == [tmp_path / "b.mp4", tmp_path / "c.AVI"]
    assert videos.find([str(tmp_path / "*.mp4"), str(video)]) == [tmp_path / "b.mp4", video]
    assert videos.find([str(tmp_path / drawn)]) == [tmp_path / drawn]
    with pytest.raises(DataError, match="there is none"):
        videos.find([str(tmp_path / "*.mov")])


def test_real_videos_have_as_many_frames_as_they_announce(data: Path) -> None:
    with videos.opened(data / "lp_mirror_mouse" / "videos" / "test_vid.mp4") as video:
        assert list(video.numbers()) == list(range(994))
        assert video.length == 994
