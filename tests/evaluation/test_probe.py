"""``fdetect probe`` from files to a detector that every other command takes."""

import json
import re
import shutil

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import fdetect_jax
from fdetect_jax import weights
from fdetect_jax.cli import main
from fdetect_jax.datasets import audit
from fdetect_jax.datasets.prepare import prepare
from fdetect_jax.detectors.efficientnet import EfficientNet, EfficientNetConfig
from fdetect_jax.evaluation.groups import groups_of
from fdetect_jax.evaluation.sets import open_sets
from fdetect_jax.faces.crop import crop
from fdetect_jax.inference.scorer import Scorer
from tests import tiny
from tests.evaluation.models import RECIPE, draw_faces, save
from tests.small import DETECTOR

MEASURE = audit.measure
KINDS = {"logistic": "probe", "knn": "neighbours", "fakespotter": "fakespotter", "svm": "fakespotter"}


@pytest.fixture(scope="module", autouse=True)
def this_process_stays_as_it_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fdetect_jax.host.set_up", lambda: None)
        patch.setattr("fdetect_jax.evaluation.command.set_up", lambda: None)
        patch.setattr("fdetect_jax.datasets.audit.measure", lambda root, items, workers: [])  # reads all files again
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "d.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Drawn faces as they are and darkened, of as many people, and an image without a face."""
    root = tmp_path_factory.mktemp("data") / "train"
    draw_faces(root, 24)
    return root


def run(*arguments) -> int:
    return main(["probe", "--workers", "1", *map(str, arguments)])


@pytest.fixture(scope="module")
def fitted(model, data, tmp_path_factory, faces):
    folder = tmp_path_factory.mktemp("fitted")
    for kind in KINDS:
        output = folder / f"{kind}.safetensors"
        assert run("--model", model, "--data", data, "--kind", kind, "--k", 3, "--output", output) == 0
    return folder


@pytest.fixture(scope="module")
def crops(data, faces):
    """(24, 64, 64, 3), and their labels."""
    found = []
    for number in range(24):
        image = cv2.imread(str(data / ("fake/dark" if number % 2 else "real") / f"{number}.png"))[..., ::-1].copy()
        found.append(crop(image, max(faces.detect(image), key=lambda face: face.side), RECIPE)["image"])
    return np.stack(found), np.arange(24) % 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_detector_that_is_written_decides_as_scikit_learn_does(fitted, model, crops, kind):
    path = fitted / f"{kind}.safetensors"
    scorer, (images, labels) = Scorer(path), crops
    config, notes = weights.describe(path)
    assert config["name"] == KINDS[kind]
    rows, margins = scorer.embeddings(images).astype(np.float64), scorer.margins(images)
    if kind in ("fakespotter", "svm"):
        layers = fdetect_jax.load(model)(images).heads
        layers = [np.asarray(x) for name, x in layers.items() if name == "embedding" or name.startswith("features/")]
        thresholds = weights.read(path)[1]["fitted"]["thresholds"]
        np.testing.assert_allclose(np.sort(thresholds), np.sort([x.mean() for x in layers]), rtol=1e-3, atol=1e-5)
        shares = [np.mean(x.reshape(24, -1) > x.mean(), axis=1) for x in layers]
        np.testing.assert_allclose(np.sort(rows.mean(axis=0)), np.sort([x.mean() for x in shares]), atol=0.01)
    else:
        np.testing.assert_allclose(rows, fdetect_jax.load(model)(images).heads["embedding"], rtol=1e-3, atol=1e-4)
    assert roc_auc_score(labels, margins) > 0.75
    if kind == "fakespotter":
        return
    x = StandardScaler().fit_transform(rows)
    if kind == "knn":
        width = float(weights.read(path)[1]["fitted"]["width"])
        vote = KNeighborsClassifier(3, weights=lambda d: np.exp(-(d**2) / (2 * width**2))).fit(x, labels)
        share = vote.predict_proba(x)
        wanted = np.log(3 * share[:, 1] + 1) - np.log(3 * share[:, 0] + 1)
        np.testing.assert_allclose(margins, wanted, atol=0.05)  # of a bank in half precision
    else:
        strength = float(notes["description"].rsplit("C = ", 1)[1])
        options = {"C": strength, "tol": 1e-6}
        made = LogisticRegression(**options, max_iter=10_000) if kind == "logistic" else SVC(**options, kernel="linear")
        wanted = made.fit(x, labels).decision_function(x)
        np.testing.assert_allclose(margins, wanted, rtol=0.01, atol=0.01)


def test_what_the_file_says_of_itself(fitted, crops):
    path = fitted / "logistic.safetensors"
    scorer, (images, labels) = Scorer(path), crops
    assert np.mean((scorer.scores(images) >= scorer.threshold) == labels) > 0.95
    assert (scorer.calibration.n_real, scorer.calibration.n_fake) == (12, 12)
    assert scorer.calibration.data == "cross-validation on train"
    assert scorer.classes == ("real", "fake")
    assert scorer.recipe == RECIPE
    assert scorer.limits.smallest > 20
    notes = weights.describe(path)[1]
    assert notes["description"].startswith("logistic of 12 real faces (12 files, 12 groups), 12 fake faces (12 files, ")
    assert notes["trunk"] == "efficientnet_small64; source 0123"


def test_the_networks_arrays_are_as_they_were_and_the_bank_is_small(fitted, model):
    own, found = weights.read(model)[1], weights.read(fitted / "knn.safetensors")[1]
    np.testing.assert_array_equal(found["params"]["trunk"]["conv_head"]["kernel"], own["params"]["conv_head"]["kernel"])
    assert found["bank"]["embedding"].shape == (24, 16)
    text = (fitted / "knn.safetensors").read_bytes()
    header = json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")])
    assert header["bank/embedding"]["dtype"] == "F16"
    assert header["fitted/standard/scale"]["dtype"] == "F32"


def test_predict_and_evaluate_take_it(fitted, data, tmp_path, capsys):
    path = str(fitted / "logistic.safetensors")
    assert (
        main(["evaluate", "--model", path, "--data", str(data), "--workers", "1", "--json", str(tmp_path / "r")]) == 0
    )
    report = json.loads((tmp_path / "r").read_text())
    assert report["tests"]["video"]["auc"] > 0.95
    assert "logistic of 12 real faces" in report["model"]["description"]
    arguments = ["--model", path, "--workers", "1", "--json", str(tmp_path / "p")]
    assert main(["predict", str(data / "fake" / "dark" / "1.png"), *arguments]) == 1
    assert main(["predict", str(data / "real" / "0.png"), *arguments]) == 0


def test_what_it_prints(model, data, tmp_path, capsys, monkeypatch, faces):
    monkeypatch.setattr("fdetect_jax.datasets.audit.measure", MEASURE)
    assert run("--model", model, "--data", data, "--output", tmp_path / "x.safetensors") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == "excluded: 1 no face"
    assert lines[1].startswith("12 real faces (12 files, 12 groups), 12 fake faces (12 files, 12 groups); ")
    figures = r"cross-validated AUC (\S+) \(95 % (\S+) to (\S+)\), 5 folds over groups; C = \S+"
    auc, low, high = map(float, re.fullmatch(figures, lines[2]).groups())
    assert 0.5 < low < auc <= high <= 1
    assert lines[3].startswith("AUC of the network as it was: 0.")
    assert lines[4].startswith(f"{tmp_path / 'x.safetensors'}: ")
    assert lines[4].endswith(" s in all")
    assert "warning: 12 groups of real faces are few" in printed.err
    assert "warning: brightness tells real from fake over all files: AUC 1.00, higher for real ones" in printed.err


def test_prepared_data_gives_the_same_and_is_not_looked_at_for_shortcuts(
    model, fitted, data, crops, tmp_path, capsys, monkeypatch, faces
):
    monkeypatch.setattr("fdetect_jax.datasets.audit.measure", None)
    folder = prepare("folder", data.parent, tmp_path / "p", RECIPE, workers=1)
    assert (
        run("--model", model, "--data", folder, "--output", tmp_path / "x.safetensors", "--kind", "knn", "--k", 3) == 0
    )
    printed = capsys.readouterr()
    assert "12 real faces (12 files, 12 groups)" in printed.out
    scorer, images = Scorer(tmp_path / "x.safetensors"), crops[0]
    np.testing.assert_allclose(scorer.margins(images), Scorer(fitted / "knn.safetensors").margins(images), atol=0.02)
    assert scorer.calibration.data == "cross-validation on p, train"
    assert run("--model", model, "--data", folder, "--output", tmp_path / "y.safetensors", "--frames", 3) == 2
    assert "--frames: found 3, wanted none" in capsys.readouterr().err


def test_one_person_is_said_and_her_files_are_divided(model, data, tmp_path, capsys, faces):
    shutil.copytree(data / "fake", tmp_path / "d" / "fake")
    shutil.copytree(data / "real", tmp_path / "d" / "real" / "anna")
    assert run("--model", model, "--data", tmp_path / "d", "--output", tmp_path / "x.safetensors") == 0
    printed = capsys.readouterr()
    assert "12 real faces (12 files, 1 groups)" in printed.out
    assert "5 folds" in printed.out
    assert "warning: all real faces are of one group, d/real/anna: " in printed.err


def test_groups_of_folders_tables_and_prepared_files(data, tmp_path, faces):
    root = tmp_path / "g"
    for name in ("real/anna/0.png", "real/anna/deep/2.png", "real/4.png", "fake/dark/1.png", "fake/3.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        number = int(name.rsplit("/", 1)[-1][0])
        shutil.copy(data / ("fake/dark" if number % 2 else "real") / f"{number}.png", root / name)
    wanted = {
        "real/anna/0.png": "real/anna",
        "real/anna/deep/2.png": "real/anna",
        "real/4.png": "real/4.png",
        "fake/dark/1.png": "fake/dark/1.png",
        "fake/3.png": "fake/3.png",
    }
    assert groups_of(open_sets([root])[0]) == wanted
    (root / "manifest.csv").write_text(
        "file,label,split,group,identity\nreal/4.png,real,train,x,four\nfake/3.png,fake,train,x,four\n"
        "fake/dark/1.png,fake,train,y,one\n"
    )
    table = {"real/4.png": "x", "fake/3.png": "x", "fake/dark/1.png": "y"}
    assert groups_of(open_sets([root])[0]) == wanted | table
    folder = prepare("folder", root, tmp_path / "p", RECIPE, workers=1)
    found = groups_of(open_sets([folder], "train")[0])
    assert found["real/4.png"] == found["fake/3.png"] != found["fake/dark/1.png"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--data": "nowhere"}, "nowhere: found no folder 'real'"),
        ({"--model": "nowhere.safetensors"}, "no such file"),
        ({"--output": "x.bin"}, "--output: found x.bin, wanted a name that ends in .safetensors"),
        ({"--output": __file__ + "/x.safetensors"}, "--output: "),
        ({"--kind": "forest"}, "--kind: found 'forest', wanted one of logistic, knn, fakespotter, svm"),
        ({"--neuron": "map"}, "--neuron: found 'map', wanted one of unit, channel"),
        ({"--k": "0"}, "--k: found 0, wanted at least 1"),
        ({"--kind": "knn", "--k": "20"}, "k: found 20 with"),
        ({"--recipe": "nose"}, "recipe: found 'nose'"),
        ({"--split": "val"}, "split: found 'val', wanted none"),
    ],
)
def test_mistakes_are_named(model, data, tmp_path, capsys, changes, message, faces):
    arguments = {"--model": model, "--data": data, "--output": tmp_path / "x.safetensors"} | changes
    assert run(*(one for pair in arguments.items() for one in pair)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert not (tmp_path / "x.safetensors").exists()


def test_networks_that_it_cannot_use_are_named(model, fitted, data, tmp_path, capsys):
    given = ["--data", data, "--output", tmp_path / "x.safetensors", "--model"]
    assert run(*given, fitted / "knn.safetensors") == 2
    assert "found a detector 'neighbours', wanted 'efficientnet_small64' itself" in capsys.readouterr().err
    weights.save(tmp_path / "g.safetensors", "ir_se50", {}, {"params": {"a": np.zeros(3)}})
    assert run(*given, tmp_path / "g.safetensors") == 2
    assert "found weights of kind 'ir_se50' and unit None, wanted a detector of faces" in capsys.readouterr().err
    config, variables, notes = weights.read(model)
    variables["params"]["conv_stem"]["kernel"] = np.zeros((5, 5, 3, 8), np.float32)
    kept = {name: notes[name] for name in ("recipe", "size")}
    weights.save(tmp_path / "w.safetensors", "detector", config, variables, **kept)
    assert run(*given, tmp_path / "w.safetensors") == 2
    assert "found other arrays than efficientnet_small64 has (params/conv_stem/kernel" in capsys.readouterr().err


def test_too_few_files_are_refused_before_any_work(model, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fdetect_jax.inference.labelled.extract_faces", None)
    for number in range(6):
        folder = tmp_path / "d" / ("fake" if number % 2 else "real")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / ("fake/dark" if number % 2 else "real") / f"{number}.png", folder)
    assert run("--model", model, "--data", tmp_path / "d", "--output", tmp_path / "x.safetensors") == 2
    assert "--data: found 3 real and 3 fake files, wanted at least 5 of each" in capsys.readouterr().err


def test_an_efficientnet_of_any_number_of_classes_is_a_network(data, tmp_path, capsys, faces):
    fields = DETECTOR | {"num_classes": 10, "resolution": 64}
    module = EfficientNet(EfficientNetConfig(**fields))
    variables = tiny.drawn(jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    weights.save(tmp_path / "imagenet.safetensors", "efficientnet", fields, variables)
    output = tmp_path / "x.safetensors"
    assert run("--model", tmp_path / "imagenet.safetensors", "--data", data, "--output", output) == 0
    assert "as it was" not in capsys.readouterr().out
    assert Scorer(output).size == 64
    assert weights.describe(output)[0]["overrides"]["trunk"] == "efficientnet_b0"


def test_what_cannot_be_learned_is_said_and_nothing_is_written(model, data, tmp_path, capsys, faces):
    """Every face is in both classes: the nearest one is of the wrong class."""
    for folder in ("real", "fake"):
        shutil.copytree(data / "real", tmp_path / "d" / folder)
    command = ["--model", model, "--data", tmp_path / "d", "--output", tmp_path / "x.safetensors"]
    assert run(*command, "--kind", "knn", "--k", 1) == 2
    error = capsys.readouterr().err
    assert "warning: the interval of the AUC reaches 0.5: what was learned may be chance" in error
    assert "warning: the network as it was ranks these files better" in error
    assert "x.safetensors: not written, for nothing was learned that holds for other groups" in error
    assert not (tmp_path / "x.safetensors").exists()


def test_channels_as_neurons_and_several_folders(model, data, tmp_path, faces):
    for name, numbers in (("a", range(12)), ("b", range(12, 24))):
        for number in numbers:
            folder = tmp_path / name / ("fake" if number % 2 else "real")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / ("fake/dark" if number % 2 else "real") / f"{number}.png", folder)
    output = tmp_path / "x.safetensors"
    given = ["--model", model, "--data", tmp_path / "a", tmp_path / "b", "--output", output]
    assert run(*given, "--kind", "svm", "--neuron", "channel", "--seed", 3) == 0
    assert weights.describe(output)[0]["overrides"]["neuron"] == "channel"
    scorer = Scorer(output)
    assert scorer.calibration.data == "cross-validation on a; b"
    shares = scorer.embeddings(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    np.testing.assert_allclose(shares * 16, np.round(shares * 16), atol=1e-4)  # of 8 or 16 channels
