import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from poseloop.drivers.replay.camera import ReplayCamera
from poseloop.drivers.replay.pictures import natural_key
from poseloop.live.config import validate
from poseloop.live.errors import ConnectError, DataError, PoseloopError
from poseloop.live.types import Colour, Image, Stamp

LONG_S = 60.0


def camera(path: Path, **options: Any) -> ReplayCamera:
    return ReplayCamera("top", ReplayCamera.Settings(path=path, **{"pace": "none", **options}))


@contextmanager
def started(path: Path, **options: Any) -> Iterator[tuple[ReplayCamera, Image]]:
    replay = camera(path, **options)
    try:
        replay.open()
        replay.start("free")
        yield replay, np.zeros(replay.format.shape, np.uint8)
    finally:
        replay.close()


def read_all(path: Path, **options: Any) -> tuple[list[Stamp], list[Image]]:
    stamps, images = [], []
    with started(path, **options) as (replay, into):
        while (stamp := replay.grab(into, LONG_S)) is not None:
            stamps.append(stamp)
            images.append(into.copy())
        assert replay.finished
    return stamps, images


def error_of(path: Path, **options: Any) -> tuple[PoseloopError, int]:
    """Read until it fails; the error, and how many good frames came before it."""
    count = 0
    try:
        with started(path, **options) as (replay, into):
            while replay.grab(into, LONG_S) is not None:
                count += 1
    except PoseloopError as error:
        return error, count
    return pytest.fail(f"expected an error, but read {count} frames")


def pictures(count: int, height: int = 30, width: int = 42) -> list[Image]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def write_video(
    path: Path,
    images: Sequence[Image],
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    with av.open(path, "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.bit_rate = 4_000_000
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_pictures(folder: Path, images: Sequence[Image], names: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, image in zip(names, images, strict=True):
        assert cv2.imwrite(str(folder / name), image[..., ::-1] if image.ndim == 3 else image)
    return folder


# What is delivered


def test_a_lossless_video_comes_back_exactly(tmp_path: Path) -> None:
    images = pictures(10)
    path = write_video(tmp_path / "a.mkv", images)
    np.testing.assert_array_equal(np.stack(read_all(path)[1]), np.stack(images))


@pytest.mark.parametrize(("file", "codec", "pix_fmt"), [("a.mp4", "mpeg4", "yuv420p"), ("a.avi", "ffv1", "yuv444p")])
def test_videos_look_as_to_opencv(tmp_path: Path, file: str, codec: str, pix_fmt: str) -> None:
    # Odd widths show a row length that was not honoured.
    path = write_video(tmp_path / file, pictures(6, 34, 46), codec, pix_fmt)
    reader = cv2.VideoCapture(str(path))
    stamps, images = read_all(path)
    assert len(stamps) == 6
    for image in images:
        np.testing.assert_array_equal(image, reader.read()[1][..., ::-1])
    reader.release()


def test_grey_is_the_brightness_over_the_full_range(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 255, 42).astype(np.uint8)[np.newaxis, :, np.newaxis], 30, axis=0).repeat(3, axis=2)
    path = write_video(tmp_path / "a.mkv", [ramp] * 3, pix_fmt="yuv444p")
    image = read_all(path, colour="grey")[1][0]
    # Video of limited range has 219 levels.
    np.testing.assert_allclose(image, ramp[..., 0], atol=2)


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_video_marked_as_turned_is_delivered_upright_as_by_opencv(tmp_path: Path, turned: int) -> None:
    path = write_video(tmp_path / "a.mp4", pictures(3), "mpeg4", "yuv420p")
    data = bytearray(path.read_bytes())
    # The track header holds a 3x3 matrix of 16.16 numbers, 40 bytes behind its version.
    at = data.index(b"tkhd") + 4 + 40
    cos, sin = round(np.cos(np.radians(turned))), round(np.sin(np.radians(turned)))
    for place, value in ((0, cos), (1, sin), (3, -sin), (4, cos)):
        data[at + 4 * place : at + 4 * place + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    reader = cv2.VideoCapture(str(path))
    expected = reader.read()[1][..., ::-1]
    reader.release()
    assert expected.shape[:2] == ((42, 30) if turned != 180 else (30, 42))
    np.testing.assert_array_equal(read_all(path)[1][0], expected)


def test_pictures_come_in_natural_order(tmp_path: Path) -> None:
    images = pictures(4)
    folder = write_pictures(tmp_path / "p", images, ["img1.png", "img2.PNG", "img10.png", "img100.bmp"])
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._img1.png").write_text("what some systems leave behind")
    stamps, got = read_all(folder, fps=50)
    np.testing.assert_array_equal(np.stack(got), np.stack(images))
    assert len(stamps) == 4
    grey = read_all(folder, fps=50, colour="grey")[1]
    np.testing.assert_array_equal(grey[2], cv2.imread(str(folder / "img10.png"), cv2.IMREAD_GRAYSCALE))


@pytest.mark.parametrize(
    "names", [["a2b10", "a2b9"], ["img10.png", "img9.png"], ["10.png", "9.png"], ["b1", "a2"], ["img1.png", "1.png"]]
)
def test_natural_order_compares_numbers_by_value(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == names[::-1]


def test_paths_may_have_any_letters(tmp_path: Path) -> None:
    folder = tmp_path / "Mäuse 鼠"
    folder.mkdir()
    path = write_video(folder / "Käfig.mkv", pictures(2))
    assert len(read_all(path)[0]) == 2
    write_pictures(tmp_path / "p", pictures(1), ["a.png"])
    shutil.move(tmp_path / "p" / "a.png", folder / "bücher.png")
    assert len(read_all(folder, fps=30)[0]) == 1


# When it is delivered


def test_frames_of_irregular_times_come_at_their_times(tmp_path: Path) -> None:
    times_ms = [0, 7, 31, 32, 90, 91, 150]
    path = write_video(tmp_path / "a.mkv", pictures(7), times_ms=times_ms)
    stamps, _ = read_all(path, pace="recorded")
    assert [stamp.exposed_ns - stamps[0].exposed_ns for stamp in stamps] == [t * 1_000_000 for t in times_ms]
    assert all(stamp.arrived_ns >= stamp.exposed_ns for stamp in stamps)


def test_a_first_frame_that_is_not_at_0_starts_at_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", pictures(3), times_ms=[50_000, 50_010, 50_030])
    stamps, _ = read_all(path, pace="recorded")
    assert [stamp.exposed_ns - stamps[0].exposed_ns for stamp in stamps] == [0, 10_000_000, 30_000_000]


def test_fps_overrides_the_recorded_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", pictures(4), times_ms=[0, 1, 100, 5000])
    replay = camera(path, fps=100)
    replay.open()
    assert replay.format.fps == 100
    replay.close()
    stamps, _ = read_all(path, pace="recorded", fps=100)
    assert [stamp.exposed_ns - stamps[0].exposed_ns for stamp in stamps] == [0, 10_000_000, 20_000_000, 30_000_000]


def test_unpaced_is_faster_than_paced(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", pictures(10))
    seconds = {}
    for pace in ("none", "recorded"):
        before = time.perf_counter()
        read_all(path, pace=pace)
        seconds[pace] = time.perf_counter() - before
    # Ten frames at 25 a second.
    assert seconds["recorded"] > 9 / 25
    assert seconds["none"] < seconds["recorded"] / 2


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_a_loop_goes_on_counting_with_one_period_between_rounds(tmp_path: Path, kind: str) -> None:
    images = pictures(3)
    if kind == "video":
        path = write_video(tmp_path / "a.mkv", images)
    else:
        path = write_pictures(tmp_path / "p", images, ["1.png", "2.png", "3.png"])
    fps = 500.0
    with started(path, pace="recorded", loop=True, fps=fps) as (replay, into):
        stamps = []
        for i in range(8):
            stamp = replay.grab(into, LONG_S)
            assert stamp is not None
            np.testing.assert_array_equal(into, images[i % 3])
            stamps.append(stamp)
        assert not replay.finished
    assert [stamp.index for stamp in stamps] == list(range(8))
    assert np.diff([stamp.exposed_ns for stamp in stamps]).tolist() == [2_000_000] * 7


@pytest.mark.parametrize("trigger", ["free", "hardware", "software"])
def test_a_recording_is_its_own_trigger(tmp_path: Path, trigger: str) -> None:
    replay = camera(write_video(tmp_path / "a.mkv", pictures(2)))
    replay.open()
    replay.start(trigger)
    assert replay.grab(np.zeros(replay.format.shape, np.uint8), LONG_S) is not None
    replay.close()


def test_settings_are_read_relative_to_the_rig_file(tmp_path: Path) -> None:
    settings = validate(ReplayCamera.Settings, {"path": "a.mkv", "colour": "grey"}, tmp_path)
    assert settings.path == tmp_path / "a.mkv"
    write_video(tmp_path / "a.mkv", pictures(2))
    replay = ReplayCamera("top", settings)
    replay.open()
    assert replay.format.colour is Colour.GREY
    assert replay.format.shape == (30, 42)
    replay.close()


# Several recordings as one rig


@contextmanager
def rig(folder: Path, lengths: list[int], trigger: str = "hardware", **options: Any) -> Iterator[list[ReplayCamera]]:
    """Videos of these numbers of frames, started together."""
    cameras = []
    for number, length in enumerate(lengths):
        path = write_video(folder / f"{number}.mkv", pictures(length))
        settings = {"path": path, "pace": "none", **{key: value[number] for key, value in options.items()}}
        cameras.append(ReplayCamera(f"cam{number}", ReplayCamera.Settings(**settings)))
    try:
        for one in cameras:
            one.open()
        for one in cameras:
            one.start(trigger)
        yield cameras
    finally:
        for one in cameras:
            one.close()


def all_of(replay: ReplayCamera, most: int = 100) -> list[Image]:
    images: list[Image] = []
    while len(images) < most:
        into = np.zeros(replay.format.shape, np.uint8)
        if replay.grab(into, LONG_S) is None:
            break
        images.append(into)
    return images


def test_skip_and_frames_bring_videos_into_step(tmp_path: Path) -> None:
    images = pictures(9)
    with rig(tmp_path, [9, 9, 9], skip=[0, 3, 8], frames=[4, 4, None]) as cameras:
        got = [all_of(one) for one in cameras]
        assert all(one.finished for one in cameras)
    for one, expected in zip(got, (images[:4], images[3:7], images[8:]), strict=True):
        np.testing.assert_array_equal(np.stack(one), np.stack(expected))


def test_a_skipped_beginning_takes_no_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", pictures(5), times_ms=[0, 1000, 2000, 2010, 2030])
    stamps, _ = read_all(path, pace="recorded", skip=2)
    assert [stamp.exposed_ns - stamps[0].exposed_ns for stamp in stamps] == [0, 10_000_000, 30_000_000]


def test_to_skip_more_than_there_is_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected more than 5 frames \(skip\)"), rig(tmp_path, [5], skip=[5]):
        pass


def test_a_shorter_recording_ends_and_the_others_go_on(tmp_path: Path) -> None:
    with rig(tmp_path, [3, 6]) as (short, long):
        assert len(all_of(short)) == 3
        assert short.finished
        assert not long.finished
        assert len(all_of(long)) == 6


def test_recordings_of_one_trigger_begin_again_together_or_not_at_all(tmp_path: Path) -> None:
    with rig(tmp_path, [3, 5], loop=[True, True]) as (short, long):
        assert len(all_of(short, 8)) == 8
        with pytest.raises(DataError, match=r"1.mkv: has 5 frames, but cam0's recording 3, .* same number of frames"):
            all_of(long, 8)
    images = pictures(5)
    with rig(tmp_path, [3, 5], loop=[True, True], frames=[3, 3]) as cameras:
        for one in cameras:
            np.testing.assert_array_equal(np.stack(all_of(one, 8)), np.stack([images[i % 3] for i in range(8)]))
    with rig(tmp_path, [3, 5], trigger="free", loop=[True, True]) as cameras:
        assert [len(all_of(one, 8)) for one in cameras] == [8, 8]


def test_rates_that_differ_are_refused_with_one_trigger_only(tmp_path: Path) -> None:
    words = r"^cam1: has 50 frames a second, but cam0 has 25"
    with pytest.raises(ConnectError, match=words), rig(tmp_path, [3, 3], fps=[None, 50.0]):
        pass
    with rig(tmp_path, [3, 3], trigger="free", fps=[None, 50.0]) as cameras:
        assert [len(all_of(one)) for one in cameras] == [3, 3]


# Broken recordings


def test_what_is_not_there_or_no_video_is_refused_by_open(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("once upon a time\n" * 100)
    (tmp_path / "folder").mkdir()
    cases: list[tuple[str, type[PoseloopError], str, dict[str, Any]]] = [
        ("nothing.mp4", ConnectError, "there is no", {}),
        ("empty.mp4", DataError, "expected a video", {}),
        ("text.mp4", DataError, "expected a video", {}),
        ("folder", ConnectError, "give fps", {}),
        ("folder", DataError, "expected pictures", {"fps": 10}),
    ]
    for file, kind, words, options in cases:
        error, _ = error_of(tmp_path / file, **options)
        assert isinstance(error, kind)
        assert words in str(error)
        assert str(tmp_path / file) in str(error)


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "holds no pictures" in str(error_of(path)[0])


def test_a_video_without_its_index_is_refused_by_open(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", pictures(40), "mpeg4", "yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error, count = error_of(path)
    assert "broken off" in str(error)
    assert count == 0


@pytest.mark.parametrize(
    ("file", "codec", "pix_fmt", "options"),
    [("a.mp4", "mpeg4", "yuv420p", {"movflags": "faststart"}), ("a.mkv", "ffv1", "bgr0", {})],
)
def test_a_video_that_ends_early_gives_its_frames_and_then_says_so(
    tmp_path: Path, file: str, codec: str, pix_fmt: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / file, pictures(40), codec, pix_fmt, options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error, count = error_of(path)
    assert isinstance(error, DataError)
    assert 10 < count < 30
    assert f"frame {count} of 40" in str(error)
    replay = camera(path)
    replay.open()
    replay.start("free")
    into = np.zeros(replay.format.shape, np.uint8)
    for _ in range(count):
        assert replay.grab(into, LONG_S) is not None
    with pytest.raises(DataError):
        replay.grab(into, LONG_S)
    assert replay.finished
    assert replay.grab(into, LONG_S) is None
    replay.close()


def test_a_loop_over_a_video_that_ends_early_stops_at_the_damage(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", pictures(40), "mpeg4", "yuv420p", options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert error_of(path, loop=True)[1] < 40


def test_damage_in_the_middle_is_not_shown_as_a_picture(tmp_path: Path) -> None:
    good = write_video(tmp_path / "good.mkv", pictures(20))
    data = bytearray(good.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    bad = tmp_path / "bad.mkv"
    bad.write_bytes(data)
    error, count = error_of(bad)
    assert f"frame {count} of 20" in str(error)
    assert 5 < count < 15


def test_a_folder_with_a_wrong_picture_names_it(tmp_path: Path) -> None:
    cases = {
        "size": (write_pictures(tmp_path / "size", pictures(2), ["1.png", "2.png"]), "expected 42 x 30 px"),
        "text": (write_pictures(tmp_path / "text", pictures(2), ["1.png", "2.png"]), "cannot be decoded"),
        "empty": (write_pictures(tmp_path / "empty", pictures(2), ["1.png", "2.png"]), "cannot be decoded"),
        "deep": (write_pictures(tmp_path / "deep", pictures(2), ["1.png", "2.png"]), "8 bits"),
    }
    write_pictures(tmp_path / "size", pictures(1, 31, 42), ["3.png"])
    (tmp_path / "text" / "3.png").write_text("no picture")
    (tmp_path / "empty" / "3.png").touch()
    cv2.imwrite(str(tmp_path / "deep" / "3.png"), np.full((30, 42), 4000, np.uint16))
    for folder, words in cases.values():
        error, count = error_of(folder, fps=30)
        assert isinstance(error, DataError)
        assert count == 2
        assert words in str(error)
        assert str(folder / "3.png") in str(error)


# Real recordings


@pytest.mark.real_data
def test_openfield_gives_every_frame_as_opencv_reads_it(data: Path) -> None:
    path = data / "dlc_openfield" / "videos" / "m3v1mp4.mp4"
    reader = cv2.VideoCapture(str(path))
    count = 0
    with started(path) as (replay, into):
        assert (replay.format.width, replay.format.height) == (640, 480)
        assert replay.format.fps == pytest.approx(30, abs=0.01)
        while (stamp := replay.grab(into, LONG_S)) is not None:
            reader.grab()
            if stamp.index % 100 == 0:
                np.testing.assert_array_equal(into, reader.retrieve()[1][..., ::-1])
            count += 1
    reader.release()
    assert count == 2330


@pytest.mark.real_data
def test_a_clip_of_250_fps_is_delivered_at_its_own_times(data: Path) -> None:
    with started(data / "lp_mirror_mouse" / "videos" / "test_vid.mp4", pace="recorded") as (replay, into):
        stamps = [replay.grab(into, LONG_S) for _ in range(100)]
    exposed_ns = [stamp.exposed_ns for stamp in stamps if stamp is not None]
    assert np.diff(exposed_ns).tolist() == [4_000_000] * 99


@pytest.mark.real_data
def test_a_real_clip_cut_in_half_says_which_frame_is_missing(data: Path, tmp_path: Path) -> None:
    source = data / "lp_mirror_mouse" / "videos" / "test_vid.mp4"
    # This file has its index at the end; the remuxed one at the start.
    late = tmp_path / "late.mp4"
    late.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    assert "broken off" in str(error_of(late)[0])
    early = tmp_path / "early.mp4"
    with av.open(source) as reader, av.open(early, "w", options={"movflags": "faststart"}) as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    early.write_bytes(early.read_bytes()[: early.stat().st_size // 2])
    error, count = error_of(early)
    assert 100 < count < 900
    assert f"frame {count} of 994" in str(error)
