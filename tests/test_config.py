"""A rig file is either right, or every fault in it is named with file, key, expected and found."""

from pathlib import Path

import pytest

from poseloop.live.config import load_rig, parse_rig
from poseloop.live.errors import ConfigError

RIG = """
name = "box"
[cameras.top]
use = "sim"
fps = 60
[model]
file = "simulated_animal"
[boards.box]
use = "sim"
[boards.box.lines.laser]
pin = 9
max_on_ms = 50
[protocols.corner]
use = "region"
keypoint = "snout"
polygon = [[0, 0], [10, 0], [10, 10]]
output = "box.laser"
"""


def faults(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_rig(text, Path("rigs/mine.toml"))
    message = str(raised.value)
    assert "mine.toml" in message
    return message


def test_a_right_file_gives_plugins_with_their_own_settings() -> None:
    rig = parse_rig(RIG, Path("mine.toml"))
    assert rig.cameras["top"].options.fps == 60
    assert rig.cameras["top"].build("top").name == "top"
    assert rig.boards["box"].line_settings()[0].max_on_us == 50_000
    assert rig.protocols["corner"].build("corner").needs == ("snout",)


def test_a_process_loads_only_the_plugins_it_runs() -> None:
    rig = parse_rig(RIG, Path("mine.toml"), ("cameras",))
    assert rig.cameras["top"].plugin is not None
    assert rig.protocols["corner"].plugin is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "box"', 'nane = "box"', ["nane", "unknown key", "name"]),
        ("fps = 60", "fsp = 60", ["cameras.top.fsp", "unknown key", "did you mean fps?"]),
        ("[cameras.top]", '[record]\nsubject = "mäus 2"\n[cameras.top]', ["record.subject", "without accents"]),
        ("fps = 60", 'fps = "60"', ["cameras.top.fps", "valid number", "'60'"]),
        ("fps = 60", "fps = nan", ["cameras.top.fps", "finite"]),
        ("fps = 60", "fps = 1e-300", ["cameras.top.fps", "0.001"]),
        (
            'use = "sim"\nfps = 60',
            'use = "opencv"\ndevice = -1',
            ["cameras.top.device: expected: greater than or equal to 0, or a valid string; found -1"],
        ),
        ('use = "sim"\nfps', 'use = "kodak"\nfps', ["cameras.top", "no camera is called 'kodak'", "replay", "sim"]),
        ('use = "sim"\nfps', "fps", ["cameras.top.use", "missing"]),
        ('use = "sim"\nfps', 'plugin = "sim"\nuse = "sim"\nfps', ["cameras.top.plugin", "unknown key"]),
        ("pin = 9", "pin = 1", ["boards.box.lines.laser.pin", "greater than or equal to 2", "1"]),
        ("pin = 9", "", ["boards.box.lines.laser.pin", "is missing"]),
        (
            '[boards.box]\nuse = "sim"',
            '[boards.box]\nuse = "osc"\nport = 9\naddresses = { laser = "/laser" }',
            ["boards.box:", 'expected timed_by = "host"', "crashes leaves a line on"],
        ),
        (
            '[boards.box]\nuse = "sim"',
            '[boards.box]\nuse = "osc"\ntimed_by = "host"\nport = 9\naddresses = { laser = "/laser" }',
            ["boards.box.lines.laser.pin", "no pins"],
        ),
        ("max_on_ms = 50", "", ["boards.box.lines.laser", "max_on_ms"]),
        ('file = "simulated_animal"', "", ["model.file", "missing"]),
        ("[model]", '[model]\nprovider = "gpu"', ["model.provider", "cuda", "'gpu'"]),
        ('output = "box.laser"', 'output = "laser"', ["protocols.corner.output", "'laser'"]),
        ("polygon = [[0, 0], [10, 0], [10, 10]]", "polygon = [[0, 0]]", ["protocols.corner.polygon", "at least 3"]),
        ('name = "box"', 'name = "box', ["not valid TOML", "line 2"]),
        ('name = "box"', '[publish]\nposes = "tcp://0.0.0.0:5570"', ["publish.poses", "0.0.0.0"]),
    ],
)
def test_a_fault_is_named(old: str, new: str, expected: list[str]) -> None:
    assert old in RIG
    message = faults(RIG.replace(old, new, 1))
    for part in expected:
        assert part in message


def test_all_faults_are_named_at_once() -> None:
    message = faults(RIG.replace("fps = 60", "fsp = 60").replace("pin = 9", 'pin = "9"'))
    assert ": 2 faults:" in message
    assert "cameras.top.fsp" in message
    assert "boards.box.lines.laser.pin" in message


def test_two_lines_on_one_pin_are_refused() -> None:
    assert "pin 9 is used twice" in faults(RIG + "[boards.box.lines.valve]\npin = 9\nmax_on_ms = 5\n")


HARDWARE = RIG.replace("[model]", '[sync]\ntrigger = "hardware"\n[model]')
TRIGGER = "[boards.box.camera_trigger]\npin = 4\nfps = 120\n"
SYNC = '[boards.box.sync]\npin = 5\nactive = "low"\n'


def test_camera_trigger_and_sync_are_lines_of_their_board() -> None:
    rig = parse_rig(HARDWARE + TRIGGER + SYNC, Path("mine.toml"))
    box = rig.boards["box"]
    laser, trigger, sync = box.line_settings()
    assert (laser.name, laser.pin) == ("laser", 9)
    assert (trigger.name, trigger.pin, trigger.kinds, trigger.max_on_us) == ("camera_trigger", 4, ("camera",), 1000)
    assert (sync.name, sync.active_high, sync.kinds, sync.max_on_us) == ("sync", False, ("sync",), 33 * 200)
    assert box.camera_trigger is not None
    assert box.camera_trigger.command("box").period_us == 8333


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RIG + TRIGGER, ["boards.box.camera_trigger", 'trigger = "hardware"', "'free'"]),
        (
            HARDWARE + TRIGGER + TRIGGER.replace("box", "second") + '[boards.second]\nuse = "sim"\n',
            ["boards.second.camera_trigger", "boards.box.camera_trigger is there too"],
        ),
        (HARDWARE + TRIGGER.replace("4", "9"), ["boards.box", "pin 9 is used twice"]),
        (HARDWARE + TRIGGER.replace("120", "1000"), ["boards.box.camera_trigger", "pause of 50 us", "every 1000 us"]),
        (HARDWARE + SYNC.replace("sync", "lines.sync") + "max_on_ms = 5\n", ["boards.box", "no line can be called"]),
        (HARDWARE + SYNC.replace("pin = 5", "pin = 5\nwidth_us = 50"), ["boards.box.sync.width_us", "125"]),
        (HARDWARE + '[boards.bare]\nuse = "sim"\n', ["boards.bare", "a board needs lines"]),
    ],
)
def test_camera_trigger_and_sync_that_cannot_be(text: str, expected: list[str]) -> None:
    message = faults(text)
    for part in expected:
        assert part in message


def test_paths_start_at_the_file_and_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rig.toml"
    camera = 'use = "replay"\npath = "{}"\n'
    text = RIG.replace('use = "sim"\nfps = 60\n', camera)
    file.write_text(text.format("clips/a.mp4"), encoding="utf-8")
    assert load_rig(file).cameras["top"].options.path == tmp_path / "clips/a.mp4"
    monkeypatch.setenv("CLIPS", str(tmp_path / "elsewhere"))
    file.write_text(text.format("${CLIPS}/a.mp4"), encoding="utf-8")
    assert load_rig(file).cameras["top"].options.path == tmp_path / "elsewhere/a.mp4"
    monkeypatch.delenv("CLIPS")
    with pytest.raises(ConfigError, match=r"cameras.top.path: the environment variable CLIPS is not set"):
        load_rig(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml: there is no such rig file"):
        load_rig(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary.toml: expected a rig file \(TOML, saved as UTF-8\)"):
        load_rig(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="cannot be read as a rig file: Is a directory"):
        load_rig(tmp_path)


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_what_windows_editors_save_is_read(change, tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_bytes(change(RIG).encode("utf-8"))
    assert load_rig(tmp_path / "rig.toml").name == "box"


def test_a_model_in_a_folder_starts_at_the_file_and_a_name_is_the_zoos(tmp_path: Path) -> None:
    for given, expected in (
        ("simulated_animal", "simulated_animal"),
        ("mouse.onnx", str(tmp_path / "mouse.onnx")),
        ("models/mouse", str(tmp_path / "models" / "mouse")),
    ):
        assert parse_rig(RIG.replace("simulated_animal", given), tmp_path / "rig.toml").model.file == expected


LASER = "pin = 9\nmax_on_ms = 50"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (LASER, LASER + "\nkinds = []", "an output needs kinds"),
        (LASER, LASER + "\npull_up = true", "pull_up cannot be set for an output"),
        (LASER, 'pin = 9\ndirection = "input"\nmax_on_ms = 5', "max_on_ms cannot be set for an input"),
        (
            'name = "box"',
            '[publish]\nposes = "tcp://127.0.0.1:5"\nhealth = "tcp://127.0.0.1:5"\n',
            "tcp://127.0.0.1:5 is given twice",
        ),
        ('name = "box"', "[publish]\npreview_fps = 1e-300\n", "preview_fps must be 0"),
        ('name = "box"', "[gates]\nage_ms = 1e12\n", "gates.age_ms"),
        ('use = "region"', 'use = "sim.py:Nothing"', "there is no file"),
        ('name = "box"', '[filter]\nuse = "kalman"\n', "filter.use"),
        ('name = "box"', "[filter]\nbeta = 1.0\n", "beta cannot be set with use = 'none'"),
        ('name = "box"', '[filter]\nuse = "one-euro"\noutlier_sigma = 5.0\n', "outlier_sigma cannot be set with use"),
        (
            'name = "box"',
            '[filter]\nuse = "kalman-cv"\npredict = false\nhorizon_ms = 5\n',
            "horizon_ms cannot be set with predict",
        ),
        (
            'name = "box"',
            '[filter]\nuse = "kalman-cv"\nhorizon_ms = 200.0\n',
            "expected horizon_ms at most gap_ms (100), but got 200",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(old: str, new: str, expected: str) -> None:
    assert old in RIG
    assert expected in faults(RIG.replace(old, new, 1))


@pytest.mark.parametrize(
    ("cameras", "expected"),
    [
        ([("top", 'use = "pylon"\nserial = "1"'), ("side", 'use = "pylon"\nserial = "1"')], "'1' is cameras.top's"),
        ([("top", 'use = "opencv"'), ("side", 'use = "opencv"\ndevice = 0')], "0 is cameras.top's"),
        ([("top", 'use = "sim"'), ("TOP", 'use = "sim"')], "differs from 'top' by more than capital letters"),
        ([("nul", 'use = "sim"')], "cameras.nul: expected another name"),
        ([("top", 'use = "pylon"\nserial = ""')], "cameras.top.serial"),
        ([("top", 'use = "pylon"\nserial = "1"'), ("side", 'use = "genicam"\nserial = "1"')], ""),
        ([("top", 'use = "opencv"\ndevice = "{file}"'), ("side", 'use = "opencv"\ndevice = "{file}"')], ""),
    ],
)
def test_each_camera_has_a_device_and_a_file_of_its_own(
    cameras: list[tuple[str, str]], expected: str, tmp_path: Path
) -> None:
    """A device that two ask for would be found out by one of them, as one that another program has."""
    file = tmp_path / "video.mp4"
    file.touch()
    tables = [f"[cameras.{name}]\n{text.format(file=file.as_posix())}\n" for name, text in cameras]
    text = "".join(tables) + '[model]\nfile = "blob"\n'
    if expected:
        assert expected in faults(text)
    else:
        parse_rig(text, Path("mine.toml"))


MODELS = """
[cameras.top]
use = "sim"
[cameras.side]
use = "sim"
[model]
file = "simulated_animal"
"""
OTHER = '[models.other]\nfile = "blob"\ncameras = ["side"]\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OTHER.replace("side", "under"), ["models.other.cameras", "top, side", "'under'"]),
        (OTHER + OTHER.replace("other", "third"), ["models.third.cameras", "side is listed twice", "models.other"]),
        (OTHER.replace('["side"]', '["side", "top"]'), ["model: no camera is left for it"]),
        (OTHER + "individuals = 2\n", ["models.other.individuals", "expected 1, as in [model], but got 2"]),
        (OTHER.replace('cameras = ["side"]', ""), ["models.other.cameras", "missing"]),
        ("roi.under = [0, 0, 8, 8]\n", ["model.roi.under", "no camera of this model"]),
        ("roi.side = [0, 0, 8, 8]\n" + OTHER, ["model.roi.side", "no camera of this model"]),
        ("roi.top = [0, 0, 8]\n", ["model.roi.top", "is missing"]),
        ("roi.top = [-1, 0, 8, 8]\n", ["model.roi.top.0", "greater than or equal to 0", "-1"]),
        ("size = [0, 8]\n", ["model.size.0", "greater than or equal to 1", "0"]),
        ("individuals = 2\n[model.crop]\nsize = [64, 64]\n", ["model", "crop follows one animal"]),
        ("[model.crop]\nsize = [64, 64]\nmargin = 8\n", ["model.crop.margin", "unknown key"]),
        ("[model.crop]\nsize = [64, 64]\nlost_after = 0\n", ["model.crop.lost_after", "greater than or equal to 1"]),
        ("gate = 1.5\n", ["model.gate", "less than or equal to 1"]),
    ],
)
def test_a_fault_of_the_models_is_named(text: str, expected: list[str]) -> None:
    message = faults(MODELS + text)
    for part in expected:
        assert part in message


def test_every_camera_has_one_model() -> None:
    rig = parse_rig(MODELS + OTHER, Path("rig.toml"))
    assert [(table.file, numbers) for table, numbers in rig.networks()] == [("simulated_animal", (0,)), ("blob", (1,))]
    (only,) = parse_rig(MODELS, Path("rig.toml")).networks()
    assert only[1] == (0, 1)


def test_a_crop_in_full() -> None:
    crop = "[model.crop]\nsize = [256, 192]\nsearch = [320, 240]\nseen = 0.25\nlost_after = 3\n"
    model = parse_rig(MODELS + "roi.top = [4, 5, 60, 70]\nsize = [320, 240]\n" + crop, Path("rig.toml")).model
    assert model.roi == {"top": (4, 5, 60, 70)}
    assert model.crop is not None
    assert (model.crop.size, model.crop.search, model.crop.seen, model.crop.lost_after) == (
        (256, 192),
        (320, 240),
        0.25,
        3,
    )
