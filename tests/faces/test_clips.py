"""Faces of images and videos, followed through time and cropped."""

import av
import cv2
import numpy as np
import pytest

from fdetect_jax.faces.clips import faces_of
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.video import Sampling

RECIPE = RECIPES["aligned64"]
GROUND = 200


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    drawn = FaceSim(split="test", size=128, identities=4, per_identity=1)
    return [drawn[number]["image"] for number in range(2)]


def frame(people, places, size=(360, 640)) -> np.ndarray:
    """Each person's picture of 128 px at a place (x, y), scaled: {number: (x, y, scale)}."""
    canvas = np.full((*size, 3), GROUND, np.uint8)
    for number, (x, y, scale) in places.items():
        side = round(128 * scale)
        canvas[y : y + side, x : x + side] = cv2.resize(people[number], (side, side), interpolation=cv2.INTER_AREA)
    return canvas


@pytest.fixture(scope="module")
def clip(tmp_path_factory, people):
    """Two people, two seconds at 10 frames a second: 0 large, moving right; 1 small, leaves after a second."""
    path = tmp_path_factory.mktemp("clips") / "two.mp4"
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=10, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for number in range(20):
            places = {0: (20 + 8 * number, 100, 1.6)} | ({1: (440, 60, 1.0)} if number < 10 else {})
            pixels = frame(people, places)
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sink.mux(stream.encode(None))
    return path


def test_each_person_is_one_track(faces, clip):
    seen = faces_of(clip, faces, RECIPE, Sampling(per_second=5))
    assert (seen.kind, seen.size, seen.info.duration) == ("video", (640, 360), pytest.approx(2.0))
    assert [time for _, time in seen.frames] == pytest.approx(np.arange(0, 2, 0.2))
    by_track = {track: [one for one in seen.crops if one.track == track] for track in {c.track for c in seen.crops}}
    large, small = sorted(by_track.values(), key=len, reverse=True)
    assert len(by_track) == 2
    assert (len(large), len(small)) == (10, 5)
    left = [one.box[0] for one in large]
    assert np.diff(left) == pytest.approx(np.full(9, 16.0), abs=8)
    assert all(one.example["image"].shape == (64, 64, 3) for one in seen.crops)


def test_the_largest_track_alone(faces, clip):
    seen = faces_of(clip, faces, RECIPE, Sampling(count=5), which="largest")
    assert len(seen.crops) == 5
    assert len({one.track for one in seen.crops}) == 1
    assert all(one.box[2] - one.box[0] > 100 for one in seen.crops)


def test_an_image_is_a_clip_of_one_frame(faces, people, tmp_path):
    path = tmp_path / "picture.mp4"  # what it is, its content says
    picture = frame(people, {0: (40, 100, 1.5), 1: (400, 80, 1.2)})
    path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    seen = faces_of(path, faces, RECIPE, Sampling(count=32))
    assert (seen.kind, seen.info, seen.frames) == ("image", None, ((0, 0.0),))
    assert sorted(one.track for one in seen.crops) == [0, 1]
    assert seen.crops[0].time == 0.0


def test_without_a_face_there_are_frames_but_no_crops(faces, tmp_path):
    path = tmp_path / "empty.png"
    path.write_bytes(cv2.imencode(".png", np.full((200, 300, 3), GROUND, np.uint8))[1].tobytes())
    seen = faces_of(path, faces, RECIPE, Sampling(count=1), which="largest")
    assert (len(seen.frames), seen.crops) == (1, ())


def test_a_frame_of_another_size_has_its_boxes_where_the_first_would(faces, people, tmp_path):
    parts, first = [], frame(people, {0: (200, 100, 1.6)})
    for size in ((640, 360), (320, 180), (320, 320)):
        pixels = np.zeros((*size[::-1], 3), np.uint8)
        top = (size[1] - 180 * size[0] // 320) // 2  # the third: between two black bars
        pixels[top : size[1] - top] = cv2.resize(first, (size[0], size[1] - 2 * top), interpolation=cv2.INTER_AREA)
        parts.append(tmp_path / f"{len(parts)}.ts")
        with av.open(str(parts[-1]), "w") as sink:
            stream = sink.add_stream("mpeg2video", rate=25, options={"qmin": "2", "qmax": "3"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for _ in range(5):
                sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            sink.mux(stream.encode(None))
    (tmp_path / "all.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    seen = faces_of(tmp_path / "all.ts", faces, RECIPE, Sampling(count=15))
    assert seen.size == (640, 360)
    boxes = [np.array(one.box) for one in seen.crops if one.track == 0]
    assert len(boxes) == len(seen.crops) > 11  # a decoder may drop frames where the size changes
    np.testing.assert_allclose(boxes[6], boxes[0], atol=8)
    # In a square of 360 px in the middle.
    np.testing.assert_allclose(boxes[-1], np.tile([140.0, 78.75], 2) + 0.5625 * boxes[0], atol=8)


def test_refusals(faces, clip, tmp_path):
    with pytest.raises(ValueError, match="faces: found 'first'"):
        faces_of(clip, faces, RECIPE, Sampling(count=1), which="first")
    with pytest.raises(UnreadableMedia, match="2 seconds"):
        faces_of(clip, faces, RECIPE, Sampling(count=1), limits=Limits(seconds=1.0))
    with pytest.raises(UnreadableMedia, match="sample fewer frames"):
        faces_of(clip, faces, RECIPE, Sampling(count=5), limits=Limits(crop_bytes=50_000))
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UnreadableMedia, match="empty"):
        faces_of(tmp_path / "a.png", faces, RECIPE, Sampling(count=1))
