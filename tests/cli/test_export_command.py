import json
from dataclasses import replace

import pytest
from test_generate_command import SIZES, save

from megalodon_edu import cli
from megalodon_edu.data import local_documents
from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, TransformerConfig
from megalodon_edu.training.evaluation import evaluate
from megalodon_edu.training.trained import load_trained
from megalodon_edu.training.window_score import evaluate_windows

TINY = replace(MegalodonConfig.preset("tiny"), **SIZES, z_dim=8, value_dim=16, norm_num_groups=2, chunk_size=16)


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(f"{name}: the whale, the whale! Up helm, up helm! " * 2000)
    return folder


@pytest.mark.parametrize("build", [lambda: Megalodon(TINY), lambda: Transformer(TransformerConfig(**SIZES))])
def test_what_ships_is_read_again_and_scored(build, tmp_path, texts, capsys):
    run, out = tmp_path / "run", tmp_path / "shipped"
    save(build(), run, source=str(texts))
    assert cli.main(["export", "--checkpoint", str(run), "--out", str(out), "--score", "validation"]) == 0
    about = json.loads((out / "run.json").read_text())
    shipped = load_trained(str(out))
    assert about["config"] == shipped.model.config.to_dict() and about["steps"] == shipped.state.step == 1
    documents = [one for one in local_documents(texts) if one.split == "validation"]
    assert about["validation"]["bits_per_byte"] == evaluate(shipped.model, documents).bits_per_byte
    assert about["validation"]["windows"]["bits_per_byte"] == evaluate_windows(shipped.model, documents).bits_per_byte
    assert f"{about['validation']['bits_per_byte']:.4f} bits per byte" in capsys.readouterr().out


def test_texts_shorter_than_a_window_have_no_such_score(tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "shipped"
    (tmp_path / "text.txt").write_text("The whale, the whale! Up helm, up helm! " * 60)
    save(Megalodon(TINY), run, source=str(tmp_path / "text.txt"))
    assert cli.main(["export", "--checkpoint", str(run), "--out", str(out), "--score", "validation"]) == 0
    assert "windows" not in json.loads((out / "run.json").read_text())["validation"]


def test_a_folder_that_exists_is_not_overwritten(tmp_path, capsys):
    save(Megalodon(TINY), tmp_path / "run")
    (tmp_path / "out").mkdir()
    assert cli.main(["export", "--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert not any((tmp_path / "out").iterdir())
