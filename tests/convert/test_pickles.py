"""The reader of pickles: it follows them, and runs nothing."""

import io
import os
import pickle
import subprocess
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from fdetect_jax.convert import pickles
from fdetect_jax.convert.pickles import MAX_DEPTH, NotAPickle, read_bytes
from fdetect_jax.convert.tensors import CheckpointError, Storage, Tensor, brief


class Call:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data(protocol):
    value = {
        "none": None,
        "numbers": [1, -(2**40), 2**70, 0.5, True, False],
        "text": ("a", "ü" * 300, b"\x00\xff" * 200),
        "nested": {"x": [(), [], {}], "y": (1, 2, 3, 4)},
        "ordered": OrderedDict([("b", 1), ("a", 2)]),
    }
    value["again"] = value["nested"]
    if protocol < 3:
        value["text"] = value["text"][:2]  # older protocols have no bytes of their own
    found = read_bytes(pickle.dumps(value, protocol))
    assert found == value
    assert found["again"] is found["nested"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "system"), (eval, "eval"), (subprocess.Popen, "Popen"), (Path, "Path"), (getattr, "getattr")],
)
def test_calls_are_refused_by_name_and_never_made(protocol, function, named, tmp_path):
    file = pickle.dumps({"state_dict": Call(function, f"touch {tmp_path}/was_run")}, protocol)
    with pytest.raises(CheckpointError, match=rf"refused: it names '[\w.]*{named}'"):
        read_bytes(file)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", r"names 'os\.system'"),
        (b"(S'true'\nios\nsystem\n.", "instruction INST"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", r"names 'os\.system'"),
        (
            b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.",
            r"names 'collections\.OrderedDict\.fromkeys'",
        ),
        (b"ctorch\nFloatStorage\n(tR.", r"calls torch\.FloatStorage, which may only be named"),
        (b"S'x'\n(I1\ntR.", "calls 'x', which is no name"),
        (b"ctorch\nFloatStorage\n}b.", "sets the state of Name"),
        (b"Psystem\n.", "instruction PERSID"),
        (b"I1\nQ.", "points to data"),
        (b"ctorch.storage\n_load_from_bytes\n(C\x01xtR.", "points to data"),
        (b"cnumpy\ndtype\n(S'O8'\ntR.", "array of type 'O8'"),
        (b"\x80\x02}]Ns.", "the key of a dict is or has a list"),
        (b"\x80\x02})\x85\x85Ns.", "the key of a dict is or has a tuple"),
        (b"\x80\x02(ctorch\nSize\nNd.", "the key of a dict is or has a Name"),
        (b"\x80\x02}\x8a\x10" + b"\x7f" * 16 + b"Ns.", "wanted a number of 64 bits at most"),
        (b"\x80\x02\x8a\x20" + b"\x7f" * 32 + b".", "a number of 255 bits, wanted 128 at most"),
    ],
)
def test_what_weights_do_not_need_is_refused(file, wanted):
    with pytest.raises(CheckpointError, match=wanted):
        read_bytes(file)


@pytest.mark.parametrize("file", [b"", b"\x80", b"plain text", b"(.", b"0.", b"}(I1\nu.", b"h\x05.", b"](I0\nI1\nu."])
def test_what_is_no_pickle(file):
    with pytest.raises(NotAPickle, match="pickle"):
        read_bytes(file)


def test_every_cut_of_a_pickle_is_an_error():
    file = pickle.dumps({"a": [1, 2, (3, "x" * 40)], "b": OrderedDict(c=1.5)})
    for end in range(len(file)):
        with pytest.raises(CheckpointError):
            read_bytes(file[:end])


MANY = 200_000  # an eighth of a megabyte of instructions; a process that hashes so many tuples dies
SIZE = b"ctorch\nSize\n"
MODULE = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
MODULE_STATE = b"}(U\x04typeU\x05classU\nclass_nameU\x01xU\x05state}U\x01x"


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(b")" + b"\x85" * MANY, id="tuples"),
        pytest.param(b"(" * MANY + b"t" * MANY, id="marked tuples"),
        pytest.param(b"]" * MANY + b"a" * (MANY - 1), id="lists"),
        pytest.param(b"(" * MANY + b"l" * MANY, id="marked lists"),
        pytest.param(b"}" + b"N}" * (MANY // 3) + b"s" * (MANY // 3), id="dicts"),
        pytest.param(SIZE * 20_000 + b")" + b"\x85\x85R" * 20_000, id="calls"),
        pytest.param((MODULE + MODULE_STATE) * 10_000 + b"N" + b"su\x85R" * 10_000, id="modules"),
        pytest.param(b"N" + b"2\x86" * 200, id="doubled tuples"),
        pytest.param(b"]2a", id="a list in itself"),
        pytest.param(b"](" + b")q\0" + b"h\0\x85q\0" * 200 + b"e", id="every level in one list"),
    ],
)
def test_nesting_is_bounded(file):
    with pytest.raises(CheckpointError, match="nests containers deeper than 100"):
        read_bytes(b"\x80\x02" + file + b".")


@pytest.mark.parametrize("key", [b")" + b"\x85" * MANY, b"N" + b"2\x86" * 60])
@pytest.mark.parametrize(
    "file",
    [b"}%bNs", b"}(%bNu", b"(%bNd", b"ccollections\nOrderedDict\n(]%bN\x86atR", b"cargparse\nNamespace\n)R}%bNsb"],
)
def test_keys_are_not_hashed_before_they_are_checked(file, key):
    """Many nested tuples overflow the stack of a process that hashes them; 60 doubled ones take for ever."""
    with pytest.raises(CheckpointError, match="the key of a dict is or has a tuple, wanted text or numbers"):
        read_bytes(b"\x80\x02" + file % key + b".")


def test_nesting_up_to_the_bound():
    for extra, start in ((0, ()), (-2, {"a": (1, [])})):
        value = start
        for _ in range(MAX_DEPTH + extra - 1):
            value = [value]
        assert read_bytes(pickle.dumps(value, 2)) == value
        with pytest.raises(CheckpointError, match="nests"):
            read_bytes(pickle.dumps([value], 2))


def test_shared_values_are_walked_once():
    """Sixty doubled tuples are 2^60 if each is walked anew."""
    assert brief(read_bytes(b"\x80\x02" + b"N" + b"2\x86" * 60 + b".")) == "a tuple"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("a", "'a'"), ("x" * 500, f"'{'x' * 80}'"), ("\x1b[2J\n", r"'\x1b[2J\n'"), (2**70, str(2**70)), ([[]], "a list")],
)
def test_values_in_messages_are_short(value, wanted):
    assert brief(value) == wanted


def test_copies_are_bounded():
    """A list of many, copied many times: a few bytes that would fill any memory."""
    file = b"(" + b"I1\n" * 4000 + b"lq\x00" + b"ctorch\nSize\n(h\x00tR" * 2000 + b"."
    with pytest.raises(CheckpointError, match="copies more than weights need"):
        read_bytes(file)


def test_instructions_are_bounded(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_INSTRUCTIONS", 50)
    with pytest.raises(CheckpointError, match="more than 50 instructions"):
        read_bytes(pickle.dumps(list(range(100)), 0))


def test_a_stream_is_left_behind_the_pickle():
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps([2]) + b"rest")
    assert pickles.read(stream) == 1
    assert pickles.read(stream) == [2]
    assert stream.read() == b"rest"


def floats(count, data=None):
    return Storage(np.dtype("<f4"), count, lambda: np.arange(count, dtype="<f4").tobytes() if data is None else data)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "wanted"),
    [
        (0, (2, 3), (3, 1), [[0, 1, 2], [3, 4, 5]]),
        (1, (2, 2), (1, 2), [[1, 3], [2, 4]]),
        (5, (), (), 5),
        (6, (0, 3), (3, 1), np.zeros((0, 3))),
    ],
)
def test_views(offset, shape, strides, wanted):
    array = Tensor(floats(6), offset, shape, strides).array()
    np.testing.assert_array_equal(array, wanted)
    assert array.shape == np.shape(wanted)
    assert array.flags.owndata


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "wanted"),
    [
        (0, (3, 3), (3, 1), "beyond its 6 values"),
        (4, (3,), (1,), "beyond"),
        (0, (10**9,), (0,), "beyond"),
        (0, (2**40, 2**40), (0, 0), "beyond"),
        (-1, (2,), (1,), "whole numbers from 0"),
        (0, (2,), (-1,), "whole numbers from 0"),
        (0, (2, 2), (1,), "a shape of 2 axes and strides of 1"),
        (0, (1,) * 9, (1,) * 9, "a shape of 9 axes"),
        (0, ("2",), (1,), "'2' in its offset, shape or strides"),
        (0, ([[]],), (1,), "a list in its offset, shape or strides"),
    ],
)
def test_views_beyond_their_storage_are_refused(offset, shape, strides, wanted):
    with pytest.raises(CheckpointError, match=wanted):
        Tensor(floats(6), offset, shape, strides).array()


def test_a_short_storage_is_truncated():
    with pytest.raises(CheckpointError, match="truncated: a storage holds 20 bytes, wanted 24"):
        Tensor(floats(6, b"\0" * 20), 0, (6,), (1,)).array()


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 2)])
def test_arrays_of_numpy(protocol, shape):
    wanted = np.random.default_rng(0).random(shape).astype(np.float32)
    columns = np.asfortranarray(wanted)
    for array in (wanted, columns, wanted.astype(np.float64)):
        found = read_bytes(pickle.dumps({"a": array, "again": array}, protocol))
        np.testing.assert_array_equal(found["a"].array(), array)
        assert found["again"] is found["a"]


def test_arrays_that_hold_no_numbers_are_refused():
    with pytest.raises(CheckpointError, match="found an array of type 'O8', wanted plain numbers"):
        read_bytes(pickle.dumps(np.array([{}], object)))
    with pytest.raises(CheckpointError, match="big-endian"):
        read_bytes(pickle.dumps(np.arange(3, dtype=">f4")))
    longer = pickle.dumps(np.zeros(3, np.float32), 3).replace(b"K\x03\x85q", b"M\x2c\x01\x85q")
    with pytest.raises(CheckpointError, match=r"a tensor of shape \(300,\) reaches beyond its 3 values"):
        read_bytes(longer).array()
    with pytest.raises(CheckpointError, match=r"refused: it calls numpy\.ndarray"):
        read_bytes(pickle.dumps(Call(np.ndarray, (2,))))
