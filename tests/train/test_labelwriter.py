"""Files of labels and guesses have what DeepLabCut and napari-deeplabcut look for in them.

These are the expectations of napari-deeplabcut 0.4.0 (its readers ask for the key ``df_with_missing``, pandas' names of
the column levels, and pictures by the last parts of their path), and of pandas 2, which it may run with.
"""

from pathlib import Path

import h5py
import numpy as np
import pytest
from disks import largest_file

from poseloop.live.errors import DataError
from poseloop.train.labelfiles import read_table
from poseloop.train.labelwriter import write_guesses, write_labels

NAN = float("nan")
ONE = [("", "snout"), ("", "tail base")]
SEVERAL = [("a", "snout"), ("b", "snout"), ("single", "corner")]


@pytest.mark.parametrize("columns", [ONE, SEVERAL])
@pytest.mark.parametrize("guesses", [False, True])
def test_both_files_hold_the_same_in_deeplabcuts_layout(
    tmp_path: Path, columns: list[tuple[str, str]], guesses: bool
) -> None:
    import pandas

    folder = tmp_path / "labeled-data" / "Mäuse 1"
    folder.mkdir(parents=True)
    wide = 3 if guesses else 2
    rows = {f"img{n:04d}.png": np.arange(wide * len(columns)).reshape(-1, wide) + n / 3 for n in (10, 2)}
    rows["img0002.png"][0] = NAN
    (write_guesses if guesses else write_labels)(folder, "me", columns, rows)
    stem = "machinelabels-iter0" if guesses else "CollectedData_me"
    with h5py.File(folder / f"{stem}.h5") as h5:
        assert list(h5) == ["df_with_missing"]
        # Pandas 3 leaves this out, and pandas 2 does not read a file without it.
        assert h5["df_with_missing"].attrs["pandas_version"] == b"0.15.2"
        assert h5["df_with_missing"].attrs["pandas_type"] == b"frame"
    several = columns is SEVERAL
    table = pandas.read_hdf(folder / f"{stem}.h5", "df_with_missing")
    assert table.columns.names == ["scorer", *(["individuals"] if several else []), "bodyparts", "coords"]
    coords = ("x", "y", "likelihood")[:wide]
    assert table.columns.tolist() == [
        ("me", *([who] if several else []), point, coord) for who, point in columns for coord in coords
    ]
    assert table.index.tolist() == [("labeled-data", "Mäuse 1", f"img{n:04d}.png") for n in (2, 10)]
    assert list(table.index.names) == [None] * 3
    assert set(table.dtypes) == {np.dtype(np.float64)}
    np.testing.assert_array_equal(table.to_numpy(), [rows[name].ravel() for name in sorted(rows)])
    for ending in ("csv", "h5"):
        read = read_table(folder / f"{stem}.{ending}", "", guesses)
        assert not read.problems
        assert read.scorer == "me"
        assert read.columns == tuple((who or "animal", point) for who, point in columns)
        for row, name in zip(read.rows, sorted(rows), strict=True):
            assert row.picture == f"labeled-data/Mäuse 1/{name}"
            places = [(read.individuals.index(who or "animal"), read.keypoints.index(point)) for who, point in columns]
            np.testing.assert_array_equal([row.xy[place] for place in places], rows[name][:, :2])
            if guesses:
                np.testing.assert_array_equal([row.likelihood[place] for place in places], rows[name][:, 2])


def test_earlier_guesses_stay_when_a_keypoint_is_added(tmp_path: Path) -> None:
    folder = tmp_path / "m1"
    folder.mkdir()
    write_guesses(folder, "old", ONE, {"img0.png": np.array([[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]])})
    write_guesses(folder, "new", [*ONE[::-1], ("", "ear")], {"img1.png": np.ones((3, 3))})
    (kept, _) = read_table(folder / "machinelabels-iter0.h5", "", guesses=True).rows
    np.testing.assert_array_equal(kept.xy[0], [[3, 4], [1, 2], [NAN, NAN]])
    np.testing.assert_array_equal(kept.likelihood[0], [0.25, 0.5, NAN])


@pytest.mark.parametrize("size", [1000, 20_000])
def test_a_full_disk_leaves_both_files_as_they_were(tmp_path: Path, size: int) -> None:
    folder = tmp_path / "m1"
    folder.mkdir()
    write_labels(folder, "me", ONE, {"img0.png": np.ones((2, 2))})
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(before) == {"CollectedData_me.csv", "CollectedData_me.h5"}
    # At 1,000 bytes the CSV fails, at 20,000 only the h5.
    more = {f"img{n}.png": np.full((2, 2), n / 3) for n in range(200)}
    with largest_file(size), pytest.raises(DataError, match="cannot be written"):
        write_labels(folder, "me", ONE, more)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"no h5", b"\x89HDF\r\n\x1a\n cut off"])
def test_a_damaged_h5_is_told_in_a_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "CollectedData_me.h5"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"CollectedData_me\.h5: cannot be read") as error:
        read_table(file, "")
    assert "\n" not in str(error.value)
