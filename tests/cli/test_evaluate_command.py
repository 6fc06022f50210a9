import json

import pytest
from test_generate_command import SIZES, save

from megalodon_edu import cli
from megalodon_edu.data import documents, local_documents
from megalodon_edu.models import Transformer, TransformerConfig
from megalodon_edu.training.checkpoint import load_checkpoint
from megalodon_edu.training.evaluation import evaluate


@pytest.fixture
def run(tmp_path):
    save(Transformer(TransformerConfig(**SIZES, context_size=32)), tmp_path)
    return tmp_path


def score(folder, *arguments):
    return cli.main(["evaluate", "--checkpoint", str(folder), *map(str, arguments)])


def test_the_table_names_every_document_and_the_total(run, capsys):
    assert score(run, "--max-bytes", 50) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = evaluate(load_checkpoint(run).model, documents("validation"), max_bytes=50)
    assert len(lines) == len(expected.scores) + 3
    assert lines[1].split()[-2:] == ["50", f"{expected.scores[0].bits_per_byte:.3f}"]
    assert lines[1].startswith(expected.scores[0].title)
    assert lines[-2].startswith("all of validation") and lines[-2].endswith(f"{expected.bits_per_byte:.3f}")
    assert "quick look" in lines[-1]


def test_json_holds_the_same_numbers(run, capsys):
    assert score(run, "--max-bytes", 50, "--split", "test", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    expected = evaluate(load_checkpoint(run).model, documents("test"), max_bytes=50)
    assert found["bits_per_byte"] == expected.bits_per_byte and found["split"] == "test"
    assert (found["complete"], found["step"], found["scored"]) == (False, 1, expected.scored)
    assert (found["model"], found["data"], found["precision"]) == ("transformer", "library", "float32")
    assert [entry["title"] for entry in found["documents"]] == [one.title for one in expected.scores]


@pytest.mark.parametrize("split", ["validation", "test", "test-ood"])
def test_the_test_splits_are_to_be_read_once(split, run, capsys):
    assert score(run, "--max-bytes", 50, "--split", split) == 0
    assert ("read once" in capsys.readouterr().err) is (split != "validation")


def test_other_texts_and_whole_documents(run, tmp_path, capsys):
    (tmp_path / "book.txt").write_text("Call me Ishmael. " * 40)
    assert score(run, "--data", tmp_path / "book.txt", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    held_out = [one for one in local_documents(tmp_path / "book.txt") if one.split == "validation"]
    assert found["complete"] is True and found["scored"] == sum(one.size for one in held_out)


def test_what_cannot_work_ends_with_one_message(run, capsys):
    assert score(run, "--max-bytes", 0) == 1
    assert "max_bytes must be at least 1, got 0" in capsys.readouterr().err
    assert score(run, "--data", "nowhere") == 1
    assert "no such file" in capsys.readouterr().err
    assert score(run / "nowhere") == 1
    assert "there is no folder" in (said := capsys.readouterr().err) and "`megalodon-edu train" in said
    assert score(run, "--data", "python", "--split", "test-ood") == 1
    assert "data 'python' has no documents in the split 'test-ood'" in capsys.readouterr().err
