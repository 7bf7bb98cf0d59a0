from small_run import run


def test_it_runs_on_small_settings():
    run("embeddings")
