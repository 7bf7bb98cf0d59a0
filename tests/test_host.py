"""What a process asks of its machine."""

import os

import pytest

from fdetect_jax.host import use_wide_vectors


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "--xla_cpu_prefer_vector_width=512"),
        ("--xla_a=1", "--xla_a=1 --xla_cpu_prefer_vector_width=512"),
        ("--xla_cpu_prefer_vector_width=256", "--xla_cpu_prefer_vector_width=256"),
    ],
)
def test_wide_vectors_unless_told_otherwise(monkeypatch, before, after):
    monkeypatch.setenv("XLA_FLAGS", before)
    use_wide_vectors()
    assert os.environ["XLA_FLAGS"] == after
