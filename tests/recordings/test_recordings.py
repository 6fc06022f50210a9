import pytest

from megalodon_edu.recordings import names, recording
from megalodon_edu.training.log import read_log


@pytest.mark.parametrize("name", names())
def test_a_recording_says_how_it_came_about(name):
    about = recording(name).about
    assert about["command"].startswith("megalodon-edu ")
    assert {"device", "python", "torch", "commit"} <= set(about["environment"])
    assert isinstance(about["seed"], int)


def test_the_run_on_two_cores_ends_in_time_below_its_goal():
    run = recording("tiny_cpu")
    rows = read_log(run.folder / "log.csv")
    assert run.about["environment"]["threads"] == 2 and run.about["wall_seconds"] < 600
    assert [row.step for row in rows] == list(range(1, run.about["steps"] + 1))
    score = run.about["validation"]
    assert score["complete"] and score["bits_per_byte"] < 2.3
    assert rows[-1].validation_bits_per_byte or rows[-1].loss < rows[0].loss


def test_an_unknown_recording_is_refused():
    with pytest.raises(ValueError, match="name must be one of .*tiny_cpu.*, got 'huge_gpu'"):
        recording("huge_gpu")
