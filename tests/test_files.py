import os

import pytest

from fsr import files


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")

    def broken(temporary):
        temporary.write_text("half")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        files.write_atomically(path, broken)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")

    def full(temporary):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="the disk is full; free some space"):
        files.write_atomically(path, full)
    assert path.read_text() == "old"


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(OSError, match="cannot write .*results"):
        files.write_text(tmp_path / "results" / "a.txt", "new")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="not writable; change its permissions"):
        files.write_text(tmp_path / "a.txt", "new")


def test_a_read_only_file_system_is_named(tmp_path):
    def refuse(temporary):
        raise OSError(30, "Read-only file system")

    with pytest.raises(OSError, match="read-only; work in another folder"):
        files.write_atomically(tmp_path / "a.txt", refuse)


def test_a_folder_is_checked_before_anything_is_made(tmp_path, monkeypatch):
    files.check_writable(tmp_path / "not" / "there" / "yet")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="a file stands where a folder is needed"):
        files.check_writable(tmp_path / "file" / "results")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # what it says of a read-only mount, even to root
    with pytest.raises(OSError, match="results: the folder is not writable; change its permissions or work in another"):
        files.check_writable(tmp_path / "results")


def test_csv_columns_stand_in_order_of_appearance(tmp_path):
    path = files.write_csv(tmp_path / "a.csv", [{"b": 1}, {"a": 2, "b": 3}])
    assert path.read_text() == "b,a\n1,\n3,2\n"


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON.*make it again"):
        files.read_json(tmp_path / "a.json")


def test_hashes_depend_on_values_and_not_on_key_order():
    assert files.sha256_of({"a": 1, "b": 2}) == files.sha256_of({"b": 2, "a": 1})
    assert files.sha256_of({"a": 1}) != files.sha256_of({"a": 2})
