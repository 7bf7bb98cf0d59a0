"""Files scored under every degradation: the clean margins are the usual ones, the others those of degraded crops."""

import tempfile
import zlib

import av
import cv2
import numpy as np
import pytest

from fdetect_jax.data.prepared import Prepared
from fdetect_jax.datasets.prepare import prepare
from fdetect_jax.evaluation.degrade import CONDITIONS, degraded
from fdetect_jax.evaluation.degraded import score_degraded, score_degraded_prepared
from fdetect_jax.faces.crop import crop
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.inference.labelled import Excluded, files_of, score_files, score_prepared
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling
from tests.evaluation.models import RECIPE, save
from tests.small import compilations

PROTOCOL = Protocol(Sampling(count=3))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A photo and an image without a face; a fake video of two people, and a file that is none."""
    root = tmp_path_factory.mktemp("data") / "test"
    drawn = FaceSim(split="test", size=128, identities=3, per_identity=1)
    for name in ("real", "fake"):
        (root / name).mkdir(parents=True)
    cv2.imwrite(str(root / "real" / "a.png"), drawn[0]["image"][..., ::-1])
    cv2.imwrite(str(root / "real" / "blank.png"), np.full((128, 128, 3), 120, np.uint8))
    (root / "fake" / "text.mp4").write_text("no video")
    with av.open(str(root / "fake" / "two.mp4"), "w") as sink:
        stream = sink.add_stream("libx264", rate=10, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 400, 200, "yuv420p"
        for number in range(3):
            pixels = np.full((200, 400, 3), 200, np.uint8)
            pixels[20 + 8 * number : 148 + 8 * number, 20:148] = drawn[1]["image"]
            pixels[30:126, 260:356] = cv2.resize(drawn[2]["image"], (96, 96))
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sink.mux(stream.encode(None))
    return root


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return Scorer(save(tmp_path_factory.mktemp("model") / "d.safetensors"))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def same_as(found, usual):
    assert [one.file for one in found] == [one.file for one in usual]
    for one, other in zip(found, usual, strict=True):
        assert type(one) is type(other)
        if isinstance(one, Excluded):
            assert one.reason == other.reason
        else:
            for name in ("frames", "times", "areas"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            np.testing.assert_allclose(one.margins, other.margins, rtol=1e-5)
            assert other.degraded is None
            assert one.degraded.shape == (40, len(one.margins))


def test_files(data, scorer, scratch, faces):
    files = files_of(data)
    with compilations() as names:
        found = []
        for one in score_degraded(data, files, scorer, PROTOCOL, seed=3, workers=1):
            if not isinstance(one, Excluded):
                crops = np.array(one.crops)
                assert crops.shape == (len(one.margins), 41, 64, 64, 3)
                margins = scorer.margins(crops.reshape(-1, 64, 64, 3)).reshape(-1, 41).T
                np.testing.assert_allclose(one.margins, margins[0], rtol=1e-5)
                np.testing.assert_allclose(one.degraded, margins[1:], rtol=1e-5)
                one = one.without_crops()
            found.append(one)
    assert names.count("jit(scorer)") <= 1
    assert list(scratch.glob("fdetect-*")) == []
    same_as(found, list(score_files(data, files, scorer, PROTOCOL, workers=1)))
    image = cv2.imread(str(data / "real" / "a.png"))[..., ::-1].copy()
    (face,) = faces.detect(image)
    frames = [one[0] for one in degraded([image], (3, zlib.crc32(b"real/a.png"), 0))]
    wanted = scorer.margins(np.stack([crop(frame, face, RECIPE)["image"] for frame in frames]))
    np.testing.assert_allclose(found[0].degraded[:, 0], wanted, rtol=1e-5)


def test_nothing_is_left_where_the_run_ends_early(data, scorer, scratch, faces):
    found = score_degraded(data, files_of(data), scorer, PROTOCOL, workers=1)
    next(found)
    assert list(scratch.glob("fdetect-*"))
    found.close()
    assert list(scratch.glob("fdetect-*")) == []


def test_prepared_crops_are_clips_of_one_person(data, scorer, scratch, tmp_path_factory, faces):
    folder = tmp_path_factory.mktemp("prepared") / "p"
    prepare("folder", data.parent, folder, RECIPE, sampling=PROTOCOL.sampling, faces="all", workers=1)
    prepared = Prepared(folder, "test")
    found = list(score_degraded_prepared(prepared, scorer, seed=3, workers=1))
    assert list(scratch.glob("fdetect-*")) == []
    by_person = []
    for one in score_prepared(prepared, scorer):  # by time; the other by person, then by time
        if not isinstance(one, Excluded):
            file = next(file for file in prepared.files() if file.file == one.file.name)
            order = np.argsort([prepared[index]["track"] for index in file.indices], kind="stable")
            columns = ("frames", "times", "areas", "margins")
            for name in columns:
                object.__setattr__(one, name, getattr(one, name)[order])
        by_person.append(one)
    same_as([one if isinstance(one, Excluded) else one.without_crops() for one in found], by_person)
    video = next(one for one in found if one.file.name.endswith("two.mp4"))
    assert len(video.margins) == 6
    assert (np.diff(video.frames[:3]) > 0).all()
    seed = zlib.crc32(video.file.name.encode())
    for person in (slice(0, 3), slice(3, 6)):
        clip = [np.array(crops[0]) for crops in video.crops[person]]
        versions = np.array(list(degraded(clip, (3, seed, person.start))))
        wanted = scorer.margins(versions.reshape(-1, 64, 64, 3)).reshape(len(CONDITIONS), 3)
        # H.264 came out a little different here from time to time, in one process or the other; why is not known.
        exact = np.array([name != "h264" for name, _ in CONDITIONS])
        np.testing.assert_allclose(video.degraded[exact, person], wanted[exact], rtol=1e-5)
        np.testing.assert_allclose(video.degraded[~exact, person], wanted[~exact], rtol=0.1)
