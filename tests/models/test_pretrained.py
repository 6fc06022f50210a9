import math

import pytest
import torch

from megalodon_edu.data import documents, to_tokens
from megalodon_edu.models import pretrained, pretrained_names
from megalodon_edu.recordings import recording


@pytest.mark.parametrize("name", pretrained_names())
def test_a_shipped_model_is_the_one_that_its_recording_describes(name):
    model, about = pretrained(name), recording(name).about
    assert model.parameter_count() == about["parameters"]
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", pretrained_names())
def test_it_predicts_held_out_text_about_as_well_as_its_recording_says(name):
    """Two thousand bytes of a document cannot reproduce the score of a whole split, but they come near."""
    model, score = pretrained(name), recording(name).about["validation"]
    novel = next(one for one in documents("validation") if one.title == "Northanger Abbey")
    tokens = torch.from_numpy(to_tokens(novel.text[100_000:102_001]))[None]
    with torch.no_grad():
        bits = model.loss(tokens).item() / math.log(2)
    assert bits == pytest.approx(score["bits_per_byte"], abs=0.1)


def test_the_larger_model_predicts_better():
    scores = {name: recording(name).about["validation"] for name in ("bookworm", "librarian")}
    assert scores["librarian"]["bits_per_byte"] < scores["bookworm"]["bits_per_byte"]
    assert scores["librarian"]["scored"] == scores["bookworm"]["scored"]


def test_weights_that_do_not_ship_are_refused_by_name():
    with pytest.raises(ValueError, match="name must be one of bookworm, librarian, got 'mammoth'"):
        pretrained("mammoth")
