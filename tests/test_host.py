"""What a process asks of its machine."""

import os
import sys

import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.host import check_flags, keep_compiled, use_wide_vectors


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


def test_the_cache_of_compiled_functions_is_the_users_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    keep_compiled()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] == "0.3"
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    keep_compiled()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "fdetect_jax" / "compiled")


def test_flags_that_xla_does_not_take_are_the_users_mistake(monkeypatch):
    """XLA ends a process with status 1, which means "a file is fake"."""
    monkeypatch.delitem(sys.modules, "jaxlib")
    for flags in ("--xla_no_such_flag=1", "no_flag"):
        monkeypatch.setenv("XLA_FLAGS", flags)
        with pytest.raises(UserError, match=f"XLA_FLAGS: found '{flags}', which XLA does not take: ."):
            check_flags()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=256")
    check_flags()
