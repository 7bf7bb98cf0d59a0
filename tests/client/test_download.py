"""What the clients write: annotated copies and the like, with names that a hostile service or uploader chose."""

import os

import httpx
import pytest

from fdetect_jax.client import ServiceError
from fdetect_jax.client.names import Names
from fdetect_jax.errors import UserError
from tests.client.fake_service import PART, Stream, problem


def below(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_everything_that_is_drawn_is_written(call, service, files, tmp_path):
    rows = call("judge", files, heat_map=True, output=tmp_path / "out")
    clip = ["annotated.mp4", "annotated.mp4.jpg", "face0.heat.png", "face0.jpg", "heat.png", "mask.png"]
    photo = ["annotated.png", "face0.heat.png", "face0.jpg", "heat.png", "mask.png"]
    names = [f"fake.mp4.{end}" for end in clip] + [f"photo.jpg.{end}" for end in photo]
    assert below(tmp_path / "out") == [f"j0/{name}" for name in [*names, "report.html"]]
    assert rows[0]["file"] == str(files[0])
    assert rows[0]["annotated"] == "j0/fake.mp4.annotated.mp4"
    assert rows[0]["poster"] == "j0/fake.mp4.annotated.mp4.jpg"
    assert rows[1]["poster"] is None
    assert rows[1]["evidence"][0]["picture"] is None
    assert rows[1]["evidence"][1]["picture"] == "j0/photo.jpg.mask.png"
    assert rows[1]["tracks"][0]["heat"] == "j0/photo.jpg.face0.heat.png"
    assert (tmp_path / "out/j0/photo.jpg.heat.png").read_bytes() == b"/v1/jobs/j0/heatmap/1" + PART


def test_jobs_do_not_touch_each_other(call, service, files, tmp_path):
    mine = tmp_path / "fake.mp4.annotated.mp4"
    mine.write_bytes(b"mine")
    call("judge", files)
    first = call("download", "j0", tmp_path)
    assert first[-1] == tmp_path / "j0/report.html"
    assert all(path.is_file() for path in first)
    before = {path: path.read_bytes() for path in first}
    call("judge", files, output=tmp_path)
    assert {path: path.read_bytes() for path in first} == before
    first[0].write_bytes(b"damaged")
    assert call("download", "j0", tmp_path) == first
    assert first[0].read_bytes() == before[first[0]]
    assert mine.read_bytes() == b"mine"


HOSTILE = (
    *("../../etc/passwd", "..\\..\\win.ini", "/absolute", "C:\\x.jpg", "..", "", ".bashrc", "a/../../b.jpg", "nul.png"),
    *("a\nb.jpg", "\u202egpj.exe", "x" * 4000, "日" * 300, "report.html", "REPORT.html", "a:b|c*.jpg", "a\x00b", " . "),
    *("~/.ssh/id", "%2e%2e%2fup", "-rf", "\udcff.jpg", "e\u0301.jpg", "\u00e9.jpg"),
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_in_the_folder(call, service, files, tmp_path, name):
    def edit(row):
        row["file"] = name
        row["tracks"][0]["track"] = f"../{name}"
        row["evidence"][1]["name"] = f"/{name}"

    service.edit = edit
    outer = tmp_path / "outer"
    call("judge", files)
    written = call("download", "j0", outer / "out")
    assert below(tmp_path) == sorted(
        [path.relative_to(tmp_path).as_posix() for path in written] + ["in/fake.mp4", "in/photo.jpg"]
    )
    assert len(set(written)) == len(written)
    for path in written:
        assert path.parent == outer / "out" / "j0"
        assert not path.name.startswith(".")
        assert path.name.isprintable()
        assert len(os.fsencode(path.name)) <= 255


def test_names_are_given_once_letters_case_aside():
    names = Names("report.html")
    given = [names.new(name, end) for name, end in [("A.jpg", ".png"), ("a.jpg", ".PNG"), ("report", ".html")]]
    assert given == ["A.jpg.png", "a.jpg (2).PNG", "report (2).html"]
    assert Names().new("con.jpg", ".png") == "_con.jpg.png"
    assert Names().new("", ".png") == Names().new("/", ".png") == "file.png"


ELSEWHERE = (
    *("http://evil.example/v1/jobs/j0/annotated/0", "//evil.example/x", "/v1/jobs/j1/annotated/0", "/v1/limits", 7),
    *("/v1/jobs/j0/../j1/annotated/0", "/v1/jobs/j0/annotated/0?x=1", "/v1/jobs/j0/./x", "/v1/jobs/j0/a\nb", ""),
)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_the_key_goes_to_the_jobs_own_addresses_alone(call, service, files, tmp_path, address):
    service.edit = lambda row: row.update(annotated=address)
    with pytest.raises(ServiceError, match="found a picture at ") as caught:
        call("judge", files, output=tmp_path / "out")
    assert caught.value.code == "not_understood"
    assert service.seen[-1] == "GET /v1/jobs/j0/result.json"


@pytest.mark.parametrize("rows", [None, {}, [1], [{"tracks": 3}], [{"evidence": ["x"]}]])
def test_rows_that_are_none(call, service, files, tmp_path, rows):
    call("submit", files)
    service.trouble = [("GET /result.json", httpx.Response(200, json={"rows": rows}))]
    with pytest.raises(ServiceError, match="found no list of objects"):
        call("download", "j0", tmp_path)


def test_a_result_of_other_files(call, service, files, tmp_path):
    service.trouble = [("GET /result.json", httpx.Response(200, json={"rows": []}))]
    with pytest.raises(ServiceError, match="found 0 rows for 2 files"):
        call("judge", files, output=tmp_path)


def test_a_cut_off_copy_is_fetched_again_and_is_whole(call, service, files, tmp_path):
    call("judge", files[1])
    cut = httpx.Response(200, stream=Stream([b"half of it, and then", httpx.RemoteProtocolError("closed")]))
    service.trouble = [("GET /annotated/0", cut), ("GET /annotated/0", problem(503, "too_busy"))]
    copy = call("download", "j0", tmp_path)[0]
    assert copy.read_bytes() == b"/v1/jobs/j0/annotated/0" + PART


def test_a_copy_that_cannot_be_had_leaves_nothing(call, service, files, tmp_path):
    call("judge", files[1])
    service.trouble = [("GET /annotated/0", httpx.ReadError("reset"))] * 20
    with pytest.raises(ServiceError, match="reset"):
        call("download", "j0", tmp_path / "out")
    assert below(tmp_path / "out") == []


def test_an_output_that_cannot_be_written_is_known_before_the_upload(call, service, files):
    with pytest.raises(UserError, match="output: found a file at"):
        call("judge", files, output=files[0])
    assert service.seen == []
