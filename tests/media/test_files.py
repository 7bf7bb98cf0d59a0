"""Which files are looked at, and in which order."""

import os

import pytest

from fdetect_jax.media.files import find_files, media_kind


def test_folders_are_searched_to_the_bottom_and_hidden_files_are_not_seen(tmp_path):
    for name in ("b/2.png", "b/c/3.mp4", "1.jpg", ".hidden.jpg", ".git/4.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = find_files([tmp_path]).files
    assert [str(relative) for _, relative in found] == ["1.jpg", "notes.txt", "b/2.png", "b/c/3.mp4"]
    assert all(file == tmp_path / relative for file, relative in found)


def test_a_file_named_twice_is_judged_once(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    assert len(find_files([file, tmp_path, file]).files) == 1


def test_nothing_to_judge(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        find_files([tmp_path / "absent"])
    with pytest.raises(ValueError, match="no file"):
        find_files([tmp_path])


def test_links_are_followed_and_what_is_left_out_is_named(tmp_path):
    real, elsewhere = tmp_path / "root" / "real", tmp_path / "elsewhere"
    for path in (real / "a.png", elsewhere / "b.png", real / ".c.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (real / "linked").symlink_to(elsewhere, target_is_directory=True)
    (real / "loop").symlink_to(tmp_path / "root", target_is_directory=True)
    (real / "broken.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(real / "pipe.png")
    found = find_files([tmp_path / "root"])
    assert [str(name) for _, name in found.files] == ["real/a.png", "real/linked/b.png"]
    notes = sorted(found.notes())
    assert [note.partition(":")[0] for note in notes] == [
        "left out, a link to a folder that it lies in",
        "left out, a link to nothing",
        "left out, hidden",
        "left out, no file",
    ]
    assert str(real / "broken.png") in notes[1]


def test_a_link_to_what_lies_above_is_not_followed(tmp_path):
    """Else it would make fakes of the real files."""
    for name in ("real/a.png", "fake/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "fake" / "up").symlink_to("..", target_is_directory=True)
    found = find_files([tmp_path / "fake"])
    assert [str(name) for _, name in found.files] == ["b.png"]
    assert list(found.left_out) == ["a link to a folder that it lies in"]


def test_content_says_the_kind_where_the_name_does_not(tmp_path):
    (tmp_path / "photo.jpg_large").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "clip").write_bytes(b"\x1aE\xdf\xa3")
    (tmp_path / "list.txt").write_text("a.mp4")
    kinds = {path.name: media_kind(path) for path in tmp_path.iterdir()}
    assert kinds == {"photo.jpg_large": "image", "clip": "video", "list.txt": None}
    assert [media_kind(tmp_path / name) for name in ("a.mts", "a.3GP", "a.JPEG")] == ["video", "video", "image"]


def test_a_name_that_is_no_utf8_is_shown_escaped(tmp_path):
    name = os.fsdecode(b"M\xfcller.png")
    (tmp_path / ".x").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"found no file.*M\\udcfcller\.png"):
        find_files([tmp_path])
