import pytest

from poseloop.drivers.arduino.command import SKETCH
from poseloop.live.cli import main


def test_it_writes_the_sketch_and_says_how_to_flash(tmp_path, capsys) -> None:
    for _ in range(2):  # what is there already, unchanged, is no obstacle
        assert main(["firmware", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert "arduino-cli upload" in said
    assert "Arduino IDE" in said
    written = {path.name: path.read_bytes() for path in (tmp_path / "new" / "poseloop").iterdir()}
    assert written == {path.name: path.read_bytes() for path in SKETCH.iterdir()}
    assert "poseloop.ino" in written


@pytest.mark.parametrize("name", ["poseloop.ino", "limits.h"])
def test_it_keeps_what_somebody_changed(tmp_path, capsys, name) -> None:
    main(["firmware", str(tmp_path)])
    changed = tmp_path / "poseloop" / name
    changed.write_text("// mine\n", encoding="utf-8")
    assert main(["firmware", str(tmp_path)]) == 1
    assert name in capsys.readouterr().err
    assert changed.read_text(encoding="utf-8") == "// mine\n"


def test_a_folder_that_cannot_be_written(tmp_path, capsys) -> None:
    (tmp_path / "file").touch()
    assert main(["firmware", str(tmp_path / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err
