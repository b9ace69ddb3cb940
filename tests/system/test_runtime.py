"""Process-wide settings."""

import jax
import pytest

from wbcjax.system.runtime import use_compilation_cache


@pytest.mark.parametrize(("cache", "folder"), [("", ".cache/wbcjax/jax"), (None, ".cache/wbcjax/jax"), ("c", "c/jax")])
def test_an_empty_cache_variable_counts_as_unset(tmp_path, monkeypatch, cache, folder):
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("WBCJAX_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if cache is not None:
        monkeypatch.setenv("WBCJAX_CACHE", str(tmp_path / cache) if cache else "")
    try:
        assert use_compilation_cache() == tmp_path / folder
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / folder)  # pyright: ignore[reportAttributeAccessIssue]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
