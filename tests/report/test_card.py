import pytest

from fdetect_jax.report.card import write_card


def write(folder, **changes):
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "grid one.png").write_bytes(b"")
    content = {
        "name": "generator_64",
        "what": "StyleGAN2 at 64 px.",
        "data": "facesim | train split",
        "config": "configs/gan.py:64",
        "seed": 7,
        "figures": {"identity_similarity": 0.5, "ssim": 0.81234, "psnr": 23.456},
        "licence": "Apache-2.0",
        "picture": folder / "pictures" / "grid one.png",
    }
    write_card(folder / "card.md", **(content | changes))
    return (folder / "card.md").read_text()


def test_card_says_all_that_is_needed(tmp_path):
    text = write(tmp_path)
    for expected in (
        "# generator_64",
        "StyleGAN2 at 64 px.",
        "| Data | facesim \\| train split |",
        "| Seed | 7 |",
        "| PSNR, held-out faces | 23.46 dB |\n| SSIM, held-out faces | 0.8123 |\n| identity similarity",
        "| Licence | Apache-2.0 |",
        "](pictures/grid%20one.png)",
        "python -m fdetect_jax.main --config=configs/gan.py:64 --config.seed=7 --workdir=runs/generator_64\n",
    ):
        assert expected in text
    assert str(tmp_path) not in text


def test_commands_replace_the_default(tmp_path):
    text = write(tmp_path, commands=["first", "second"])
    assert "```sh\nfirst\nsecond\n```" in text
    assert "fdetect_jax.main" not in text


def test_card_refuses_to_leave_gaps(tmp_path):
    with pytest.raises(ValueError, match="ssim"):
        write(tmp_path, figures={"psnr": 20.0})
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        write(tmp_path, picture=tmp_path / "none.png")
    assert not (tmp_path / "card.md").exists()
