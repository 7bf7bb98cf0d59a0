"""Batches are full, two of them are on their way at a time, and results keep the order of the rows."""

import numpy as np
import pytest

from fdetect_jax.inference.stream import Stream, joined


class Late:
    """A device array that is ready when its test says so."""

    def __init__(self, values):
        self.values, self.done = values, False

    def is_ready(self):
        return self.done

    def copy_to_host_async(self):
        pass

    def __array__(self, dtype=None, copy=None):
        return self.values


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("jax.device_get", lambda arrays: tuple(map(np.asarray, arrays)))
    return []


def stream(made):
    return Stream(lambda batch: made.append((batch, Late(batch[:, 0] * 2))) or (made[-1][1],), 2, (1,))


def rows(*values):
    return [np.array([value], np.uint8) for value in values]


def test_results_come_when_they_are_ready_or_when_two_batches_wait(made):
    running = stream(made)
    assert running.put(rows(1, 2, 3)) == []
    assert running.put(rows(4)) == []
    assert len(made) == 2
    (first,) = running.put(rows(5, 6))  # the third is submitted once the first is read
    assert first[0].tolist() == [2, 4]
    made[1][1].done = True
    (second,) = running.put([])
    assert second[0].tolist() == [6, 8]
    assert [part[0].tolist() for part in running.end()] == [[10, 12]]
    assert running.end() == []


def test_padding_is_cut_off_and_batches_are_never_written_to_again(made):
    running = stream(made)
    assert [part[0].tolist() for part in running.put(rows(1, 2, 3)) + running.end()] == [[2, 4], [6]]
    assert [batch.tolist() for batch, _ in made] == [[[1], [2]], [[3], [0]]]


def test_joined():
    (whole,) = joined([(np.ones(2),), (np.zeros(1),)], ())
    assert whole.tolist() == [1, 1, 0]
    assert [one.shape for one in joined([], ((0,), (0, 3)))] == [(0,), (0, 3)]
