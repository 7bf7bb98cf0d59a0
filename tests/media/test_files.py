"""Which files are looked at, and in which order."""

import pytest

from fdetect_jax.media.files import find_files


def test_folders_are_searched_to_the_bottom_and_hidden_files_are_not_seen(tmp_path):
    for name in ("b/2.png", "b/c/3.mp4", "1.jpg", ".hidden.jpg", ".git/4.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = find_files([tmp_path])
    assert [str(relative) for _, relative in found] == ["1.jpg", "notes.txt", "b/2.png", "b/c/3.mp4"]
    assert all(file == tmp_path / relative for file, relative in found)


def test_a_file_named_twice_is_judged_once(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    assert len(find_files([file, tmp_path, file])) == 1


def test_nothing_to_judge(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        find_files([tmp_path / "absent"])
    with pytest.raises(ValueError, match="no file"):
        find_files([tmp_path])
