"""Videos: what goes in comes out, in order, also of a file that nobody closed."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from poseloop.live.config import Record
from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output import video
from poseloop.live.output.video import VideoWriter, find_encoder
from poseloop.live.types import CameraFormat, Colour, Image

PIXELS = {Colour.GREY: "gray", Colour.RGB: "rgb24", Colour.BGR: "bgr24"}
MS = 1_000_000


def pictures(camera: CameraFormat, count: int) -> list[Image]:
    """Slopes that move, so that each picture can be told from the others."""
    down, across = np.mgrid[: camera.height, : camera.width]
    grey = [((down + across) / 4 + 3 * number) % 256 for number in range(count)]
    if camera.colour is Colour.GREY:
        return [image.astype(np.uint8) for image in grey]
    return [np.stack([image, 255 - image, image / 2], axis=-1).astype(np.uint8) for image in grey]


def open_writer(file: Path, camera: CameraFormat, codec: str) -> VideoWriter:
    record = Record.model_validate({"folder": file.parent, "codec": codec})
    return VideoWriter(file, camera, find_encoder(record, camera, "top"), record.quality)


def read(file: Path, colour: Colour) -> tuple[list[int], list[Image]]:
    with av.open(str(file)) as container:
        frames = list(container.decode(video=0))
    return [frame.pts for frame in frames], [frame.to_ndarray(format=PIXELS[colour]) for frame in frames]


@pytest.mark.parametrize("size", [(160, 120), (161, 123)], ids=["even", "odd"])
@pytest.mark.parametrize("colour", list(Colour))
@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1", "raw"])
def test_every_codec_gives_back_every_picture(
    codec: str, colour: Colour, size: tuple[int, int], tmp_path: Path
) -> None:
    camera = CameraFormat(*size, colour, 100.0)
    given = pictures(camera, 8)
    writer = open_writer(tmp_path / "top.mkv", camera, codec)
    for number, image in enumerate(given):
        writer.write(image, 5_000 * MS + number * 10 * MS)
    writer.close()
    writer.close()
    assert writer.written == 8
    times, found = read(tmp_path / "top.mkv", colour)
    assert times == [10 * number for number in range(8)]
    for before, after in zip(given, found, strict=True):
        difference = np.abs(before.astype(int) - after).mean()
        # A neighbour differs by 3 in every pixel.
        assert difference == 0 if codec in video.LOSSLESS else difference < (1.0 if colour is Colour.GREY else 4.0)


def test_a_video_that_was_never_closed_lacks_no_more_than_a_clusters_time(tmp_path: Path) -> None:
    camera = CameraFormat(160, 120, Colour.GREY, 100.0)
    writer = open_writer(tmp_path / "top.mkv", camera, "h264")
    images = pictures(camera, 16)
    for number in range(200):
        writer.write(images[number % 16], number * 10 * MS)
    # As it lies on the disk at this moment.
    shutil.copyfile(tmp_path / "top.mkv", tmp_path / "crashed.mkv")
    writer.close()
    times, _ = read(tmp_path / "crashed.mkv", Colour.GREY)
    assert times == [10 * number for number in range(len(times))]
    assert 200 - len(times) <= 40


def test_times_that_do_not_rise_are_made_to(tmp_path: Path) -> None:
    camera = CameraFormat(160, 120, Colour.GREY, 100.0)
    writer = open_writer(tmp_path / "top.mkv", camera, "h264")
    for at_ms, image in zip((100, 110, 90, 120), pictures(camera, 4), strict=True):
        writer.write(image, at_ms * MS)
    writer.close()
    assert read(tmp_path / "top.mkv", Colour.GREY)[0] == [0, 10, 11, 20]


def test_an_existing_video_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "top.mkv").write_bytes(b"precious")
    with pytest.raises(DataError, match="not overwritten"):
        open_writer(tmp_path / "top.mkv", CameraFormat(160, 120, Colour.GREY, 100.0), "h264")


def test_an_encoder_that_does_not_work_here_is_passed_over_or_named(tmp_path: Path, monkeypatch) -> None:
    absent = video.Encoder("h264_absent", "gray", "yuv420p", {}, "cq", hardware=True)
    software = [encoder for encoder in video.ENCODERS["h264"] if not encoder.hardware]
    monkeypatch.setattr(video, "ENCODERS", {"h264": (absent, *software)})
    camera = CameraFormat(160, 120, Colour.GREY, 100.0)
    assert find_encoder(Record(folder=tmp_path), camera, "top").name == "libx264"
    with pytest.raises(ConfigError, match="camera top: cannot encode 160 x 120 grey pictures on the graphics card"):
        find_encoder(Record(folder=tmp_path, encoder="hardware"), camera, "top")


def test_an_encoder_that_keeps_pictures_back_is_not_used(tmp_path: Path, monkeypatch) -> None:
    slow = video.Encoder("libx264", "gray", "yuv420p", {"preset": "medium"}, "crf")
    monkeypatch.setattr(video, "ENCODERS", {"h264": (slow,)})
    with pytest.raises(ConfigError, match="keeps pictures back"):
        find_encoder(Record(folder=tmp_path), CameraFormat(160, 120, Colour.GREY, 100.0), "top")
