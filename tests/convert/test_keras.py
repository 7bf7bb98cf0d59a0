"""Keras' weights of MesoNet: the authors' give the authors' answers, and a file that is none is refused."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from fdetect_jax.convert import keras
from fdetect_jax.convert.checkpoint import read_checkpoint
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.mesonet import convert as convert_found
from fdetect_jax.convert.mesonet import rows
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.inference.scorer import Scorer

h5py = pytest.importorskip("h5py")
SHARED = Path(os.environ.get("FDETECT_SHARED", Path(__file__).parents[3] / "shared")) / "weights" / "mesonet"
LAYERS = {"meso4": 4, "mesoinception4": 16}


def write(path, name, first=1, change=lambda file: None):
    """A file as Keras 2 writes it: layers in another order than they were made in, numbered from ``first`` on."""
    shapes = jax.eval_shape(make_detector(name).init, jax.random.key(0), np.zeros((1, 256, 256, 3), np.float32))
    wanted = {tuple(str(part.key) for part in where): leaf.shape for where, leaf in jax.tree.leaves_with_path(shapes)}
    rng, layers = np.random.default_rng(0), {}
    arrays = {row.key: np.abs(rng.standard_normal(wanted[row.path])).astype(np.float32) for row in rows(name)}
    for key, array in arrays.items():
        layer, entry = key.split("/")
        kind, number = layer.split(".")
        layers.setdefault(f"{kind}_{int(number) + first}", {})[entry] = array
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"input_1", *(layer.encode() for layer in sorted(layers, reverse=True))]
        file.create_group("input_1").attrs["weight_names"] = np.zeros(0, "S1")
        for layer, entries in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{entry}:0".encode() for entry in entries]
            for entry, array in entries.items():
                group.create_dataset(f"{layer}/{entry}:0", data=array)
        change(file)
    return arrays


@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back(name, tmp_path):
    arrays = write(tmp_path / "m.h5", name, first=5)
    convert("mesonet", tmp_path / "m.h5", tmp_path / "m.safetensors")
    scorer = Scorer(tmp_path / "m.safetensors", batch_size=2, recipe="sbi")
    assert (scorer.size, scorer.unit) == (256, "face")
    export(tmp_path / "m.safetensors", tmp_path / "back.safetensors")
    back = read_checkpoint(tmp_path / "back.safetensors")
    assert back.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(back[key].array(), array)
    assert convert_found(keras.read(tmp_path / "m.h5"))[0] == {"name": name, "overrides": {}}


def elsewhere(file):
    del file["conv2d_1"]
    file["conv2d_1"] = h5py.ExternalLink("/etc/passwd", "/")


def aside(file):
    del file["conv2d_1"]
    file["conv2d_1"] = h5py.SoftLink("/conv2d_2")


def outside(file):
    del file["conv2d_1/conv2d_1/bias:0"]
    file["conv2d_1/conv2d_1"].create_dataset("bias:0", (8,), "f4", external=[("/etc/passwd", 0, 32)])


def without_names(file):
    del file.attrs["layer_names"]


def of_text(file):
    del file["conv2d_1/conv2d_1/bias:0"]
    file["conv2d_1/conv2d_1"].create_dataset("bias:0", data=[b"one"] * 8)


def one_less(file):
    file.attrs["layer_names"] = [f"conv2d_{number}".encode() for number in range(1, 4)]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (elsewhere, "found ExternalLink, wanted what lies in this file"),
        (aside, "found SoftLink, wanted what lies in this file"),
        (outside, "lies in another file"),
        (without_names, "found no layer_names, wanted the weights of a Keras model"),
        (of_text, "wanted floating-point numbers"),
        (one_less, "found 3 convolutions, wanted 4 of Meso-4 or 16 of MesoInception-4"),
    ],
)
def test_what_is_no_weights_is_refused(change, wanted, tmp_path):
    write(tmp_path / "m.h5", "meso4", change=change)
    with pytest.raises(CheckpointError, match=rf"m\.h5: (?!damaged).*{wanted}"):
        convert("mesonet", tmp_path / "m.h5", tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("length", [9, 600, 20_000])
def test_a_cut_file_is_refused(length, tmp_path):
    write(tmp_path / "m.h5", "meso4")
    (tmp_path / "m.h5").write_bytes((tmp_path / "m.h5").read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"m\.h5: damaged HDF5 file"):
        read_checkpoint(tmp_path / "m.h5")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' weights are not here")
def test_the_authors_weights_give_the_authors_answers(tmp_path):
    convert("mesonet", SHARED / "Meso4_DF.h5", tmp_path / "m.safetensors")
    scorer = Scorer(tmp_path / "m.safetensors", batch_size=4, recipe="sbi")
    names = ("df00204", "df01254", "real00240", "real00772")
    files = [next(SHARED.rglob(f"{name}.jpg")) for name in names]
    images = [Image.open(file).convert("RGB").resize((256, 256), Image.Resampling.NEAREST) for file in files]
    real = 1 / (1 + np.exp(scorer.margins(np.stack([np.asarray(image) for image in images]))))
    np.testing.assert_allclose(real, (0.041, 0.049, 0.990, 0.998), atol=1e-3)
    convert("mesonet", SHARED / "MesoInception_DF.h5", tmp_path / "i.safetensors")
    outputs = Scorer(tmp_path / "i.safetensors", batch_size=4, recipe="sbi")
    assert (outputs.margins(np.stack([np.asarray(image) for image in images])) > 0).tolist() == [
        True,
        True,
        False,
        False,
    ]
