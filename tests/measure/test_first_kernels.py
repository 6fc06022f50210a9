import json

import pytest
import torch

from megalodon_edu.measure.first_kernels import Measurement, Speed, first_kernels, from_json, to_json

COPY = Speed("copy", (1000,), 0, 8000, 0.004, None)
ADD = Speed("vector add", (1000,), 1, 12_000, 0.0123456, 0.01)


def test_the_share_is_bytes_over_time_beside_the_copys():
    found = Measurement("a GPU", COPY, [ADD], {})
    assert COPY.gigabytes_per_second == pytest.approx(2.0)
    assert found.share(ADD) == pytest.approx(12_000 / 0.0123456 / 1e6 / 2)


def test_it_survives_being_written_down():
    about = json.loads(json.dumps(to_json(Measurement("a GPU", COPY, [ADD], {"tf32": 1.2345e-4}))))
    again = from_json({"command": "anything", **about})
    assert again.copy == COPY and again.speeds == [ADD._replace(milliseconds=0.01235)]
    assert again.errors == {"tf32": 1.23e-4}


def test_the_interpreter_is_not_timed():
    with pytest.raises(ValueError, match="device must be a CUDA GPU, got cpu"):
        first_kernels(torch.device("cpu"))
