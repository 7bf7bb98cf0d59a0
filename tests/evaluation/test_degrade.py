"""Degradations against what OpenCV, x264 and algebra say of them."""

import av
import cv2
import numpy as np
import pytest

from fdetect_jax.evaluation import degrade
from fdetect_jax.evaluation.degrade import CONDITIONS, DEGRADATIONS, degraded
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.media.limits import UnreadableMedia


@pytest.fixture(scope="module")
def clip():
    drawn = FaceSim(split="test", size=96, identities=3, per_identity=1)
    return [drawn[number]["image"] for number in range(3)]


def rng():
    return np.random.default_rng(5)


def error(one, other):
    return float(np.mean((one.astype(float) - other) ** 2))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_five_severities_each_worse_than_the_last(name, clip):
    one = DEGRADATIONS[name]
    assert len(one.values) == 5
    errors = np.array(
        [[error(a, b) for a, b in zip(clip, one.apply(clip, value, rng()), strict=True)] for value in one.values]
    )
    assert (errors[0] > 0).all()
    assert (np.diff(errors, axis=0) > 0).all()


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("shape", [(9, 15), (64, 48), (8, 8), (33, 1)])
def test_size_and_type_stay_and_the_input_does(name, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    before = image.copy()
    for value in DEGRADATIONS[name].values:
        (found,) = DEGRADATIONS[name].apply([image], value, rng())
        assert (found.shape, found.dtype) == (image.shape, np.uint8)
        assert found.flags.c_contiguous
    np.testing.assert_array_equal(image, before)


def test_jpeg_is_opencvs(clip):
    for quality in DEGRADATIONS["jpeg"].values:
        data = cv2.imencode(".jpg", cv2.cvtColor(clip[0], cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        wanted = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(degrade.jpeg(clip[0], quality), wanted)


def through_a_file(clip, path, crf):
    height, width = clip[0].shape[:2]
    with av.open(path, "w") as sink:
        stream = sink.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in clip:
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        sink.mux(stream.encode(None))
    with av.open(path) as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]


@pytest.mark.parametrize("crf", [23, 40])
def test_h264_is_what_a_video_file_of_that_rate_factor_holds(clip, tmp_path, crf):
    assert crf in DEGRADATIONS["h264"].values
    wanted = through_a_file(clip, str(tmp_path / "a.mp4"), crf)
    for one, other in zip(degrade.h264(clip, crf, rng()), wanted, strict=True):
        assert error(one, other) < 0.5
        assert error(one, clip[0]) > 5


def test_h264_gives_the_same_every_time(clip):
    assert len({np.stack(degrade.h264(clip, 18, rng())).tobytes() for _ in range(30)}) == 1


def test_h264_predicts_from_the_frames_before(clip):
    first, second = degrade.h264([clip[0], clip[1]], 40, rng())
    (alone,) = degrade.h264([clip[1]], 40, rng())
    assert error(second, alone) > 1
    assert error(second, clip[1]) < error(first, clip[1])


def test_h264_keeps_odd_sides_where_they_are(clip):
    odd = clip[0][:71, :83]
    (found,) = degrade.h264([odd], 18, rng())
    assert error(found, odd) < 20
    assert error(found, np.roll(odd, 1, axis=1)) > 2 * error(found, odd)


def test_h264_takes_sides_up_to_its_largest():
    wide = np.full((8, 16386, 3), 100, np.uint8)
    (found,) = degrade.h264([wide[:, :-2]], 40, rng())
    assert found.shape == (8, 16384, 3)
    with pytest.raises(UnreadableMedia, match=r"16386x8 pixels: H\.264 takes sides of 16384 at most"):
        degrade.h264([wide], 40, rng())


def test_resizing_loses_what_is_finer_than_its_pixels(clip):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    assert np.abs(degrade.resize(board, 0.5).astype(int) - 127.5).max() <= 1
    flat = np.full((64, 64, 3), (10, 100, 200), np.uint8)
    np.testing.assert_array_equal(degrade.resize(flat, 0.15), flat)


def test_blur_is_a_gaussian_of_its_sigma():
    point = np.zeros((65, 65, 3), np.uint8)
    point[32, 32] = 255
    x = np.arange(65) - 32
    for sigma in (1, 2):
        bell = np.exp(-(x**2) / (2 * sigma**2))
        wanted = 255 * np.outer(bell, bell) / bell.sum() ** 2
        assert np.abs(degrade.blur(point, sigma)[..., 1] - wanted).max() < 1


def test_noise_has_its_deviation_and_no_pattern():
    grey = np.full((200, 300, 3), 128, np.uint8)
    for deviation in (0.02, 0.07):
        drawn = degrade.noise(grey, deviation, rng()).astype(float) - 128
        assert drawn.std() == pytest.approx(255 * deviation, rel=0.02)
        assert abs(drawn.mean()) < 0.3
        assert np.abs(np.corrcoef(drawn.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 0.02
        assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02


def test_noise_does_not_depend_on_how_it_is_drawn(clip, monkeypatch):
    whole = degrade.noise(clip[0], 0.1, rng())
    monkeypatch.setattr(degrade, "_BAND", 1000)
    np.testing.assert_array_equal(degrade.noise(clip[0], 0.1, rng()), whole)


def test_colours_in_closed_form(clip):
    pixels = clip[0].astype(float)
    luma = pixels @ [0.299, 0.587, 0.114]
    wanted = {
        "saturation": lambda factor: luma[..., None] + factor * (pixels - luma[..., None]),
        "contrast": lambda factor: 127.5 + factor * (pixels - 127.5),
        "brightness": lambda factor: factor * pixels,
    }
    for name, form in wanted.items():
        for value in DEGRADATIONS[name].values:
            (found,) = DEGRADATIONS[name].apply(clip[:1], value, rng())
            assert np.abs(found - form(value)).max() < 1, (name, value)  # OpenCV rounds coefficients too


def test_all_conditions_in_order_and_by_the_seed_alone(clip):
    found, again, other = (list(degraded(clip, seed)) for seed in ((0, 1), (0, 1), (0, 2)))
    assert len(found) == len(CONDITIONS) == 40
    np.testing.assert_array_equal(found, again)
    for (name, value), frames, others in zip(CONDITIONS, found, other, strict=True):
        wanted = DEGRADATIONS[name].apply(clip, value, np.random.default_rng((0, 1)))
        np.testing.assert_array_equal(frames, wanted)
        assert np.array_equal(frames, others) == (name != "noise")
