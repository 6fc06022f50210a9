import signal
import threading
from dataclasses import astuple, replace
from itertools import pairwise

import pytest
import torch
from tiny_models import build_megalodon, build_transformer

from megalodon_edu.training.checkpoint import checkpoints, load_checkpoint
from megalodon_edu.training.diagnosis import NonFiniteError
from megalodon_edu.training.gradient import accumulate_gradient
from megalodon_edu.training.log import read_log
from megalodon_edu.training.loop import train
from megalodon_edu.training.windows import RandomWindows


def quietly(model, windows, options, folder, **more):
    return train(model, windows, options, folder, progress_bar=False, **more)


def numbers(folder):
    """The log without its clock."""
    return [astuple(replace(row, seconds=0)) for row in read_log(folder / "log.csv")]


def same_bits(first, second):
    pairs = zip(first.named_parameters(), second.named_parameters(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def press_ctrl_c_after(step):
    return lambda row: row.step == step and signal.raise_signal(signal.SIGINT)


def test_the_loss_falls(megalodon, windows, options, tmp_path):
    result = quietly(megalodon, windows, replace(options, steps=60, learning_rate=3e-2), tmp_path)
    rows = read_log(tmp_path / "log.csv")
    assert rows[0].loss > 5.0 and rows[-1].loss < 3.0
    assert (result.step, result.ended) == (60, "steps")
    assert result.checkpoint == checkpoints(tmp_path)[0] and load_checkpoint(tmp_path).state.step == 60


def test_every_step_is_logged_and_told(megalodon, windows, options, tmp_path):
    told, scores = [], iter([2.5, 2.25, 2.0])
    quietly(megalodon, windows, options, tmp_path, callbacks=[told.append], validate=lambda model: next(scores))
    rows = read_log(tmp_path / "log.csv")
    assert rows == told
    assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.tokens for row in rows] == [40, 80, 120, 160, 200, 240]
    assert [row.validation_bits_per_byte for row in rows] == [None, 2.5, None, 2.25, None, 2.0]
    assert all(0 < a.seconds <= b.seconds for a, b in pairwise(rows))
    assert rows[0].learning_rate == pytest.approx(0.005) and rows[1].learning_rate > rows[5].learning_rate


@pytest.mark.parametrize("build", [build_megalodon, build_transformer, lambda: build_megalodon(dropout=0.3)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_interrupted_and_resumed_equals_uninterrupted(build, precision, windows, options, tmp_path):
    options = replace(options, precision=precision)
    whole, pieces = build(), build()
    quietly(whole, windows, options, tmp_path / "whole")
    first = quietly(pieces, windows, options, tmp_path / "pieces", callbacks=[press_ctrl_c_after(2)])
    assert (first.step, first.ended) == (2, "interrupt")
    fresh = build()
    second = quietly(fresh, windows, options, tmp_path / "pieces", callbacks=[press_ctrl_c_after(5)], resume=True)
    assert (second.step, second.ended) == (5, "interrupt") and second.seconds > first.seconds
    torch.randn(100)  # whatever else the program draws does not matter
    last = load_checkpoint(tmp_path / "pieces").model
    result = quietly(last, windows, options, tmp_path / "pieces", resume=True)
    assert (result.step, result.ended) == (6, "steps")
    assert same_bits(whole, last)
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "pieces")


def test_a_run_that_crashed_takes_its_lost_steps_again(windows, options, tmp_path):
    options = replace(options, checkpoint_steps=2)

    def crash(row):
        if row.step == 5:
            raise MemoryError("out of memory")

    whole, crashed = build_megalodon(), build_megalodon()
    quietly(whole, windows, options, tmp_path / "whole")
    with pytest.raises(MemoryError):
        quietly(crashed, windows, options, tmp_path / "crashed", callbacks=[crash])
    assert len(read_log(tmp_path / "crashed" / "log.csv")) == 5
    assert load_checkpoint(tmp_path / "crashed").state.step == 4
    quietly(crashed, windows, options, tmp_path / "crashed", resume=True)
    assert same_bits(whole, crashed)
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "crashed")


def test_a_finished_run_can_go_on_with_more_steps(megalodon, windows, options, tmp_path):
    quietly(megalodon, windows, options, tmp_path)
    again = quietly(megalodon, windows, options, tmp_path, resume=True)
    assert (again.step, again.ended) == (6, "steps")
    more = quietly(megalodon, windows, replace(options, steps=8), tmp_path, resume=True)
    assert more.step == 8 and [row[0] for row in numbers(tmp_path)] == list(range(1, 9))


def test_the_program_draws_the_same_random_numbers_after_a_run(megalodon, windows, options, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    quietly(megalodon, windows, options, tmp_path)
    assert torch.equal(torch.rand(4), expected)


def test_ctrl_c_works_again_after_a_run(megalodon, windows, options, tmp_path):
    quietly(megalodon, windows, options, tmp_path, callbacks=[press_ctrl_c_after(2)])
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_ends_the_run_at_once(megalodon, windows, options, tmp_path):
    def twice(row):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        quietly(megalodon, windows, options, tmp_path, callbacks=[twice])
    assert checkpoints(tmp_path) == []


def test_a_run_in_another_thread_leaves_ctrl_c_alone(megalodon, windows, options, tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(quietly(megalodon, windows, options, tmp_path)))
    thread.start()
    thread.join()
    assert results[0].step == 6


def test_parts_of_a_batch_add_up_to_its_gradient(windows):
    whole, parts = build_megalodon().double(), build_megalodon().double()
    batch = windows(0)
    losses = [accumulate_gradient(m, batch, n, torch.float32).item() for m, n in ((whole, 1), (parts, 4))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)


def test_parts_must_divide_the_batch(megalodon, windows, options, tmp_path):
    with pytest.raises(ValueError, match="accumulate must divide the batch of 4 windows, got 3"):
        quietly(megalodon, windows, replace(options, accumulate=3), tmp_path)


def test_the_gradient_is_clipped(windows, options, tmp_path):
    def first_update(clip):
        model, folder = build_megalodon(), tmp_path / str(clip)
        norms = []

        def look(row):
            norms.append((row.gradient_norm, sum(p.grad.square().sum() for p in model.parameters()).sqrt().item()))

        quietly(model, windows, replace(options, steps=1, clip=clip), folder, callbacks=[look])
        return norms[0]

    norm, kept = first_update(1e6)
    assert kept == pytest.approx(norm)
    assert first_update(norm / 4) == pytest.approx((norm, norm / 4), rel=1e-3)


def test_checkpoints_come_by_steps_and_by_seconds(megalodon, windows, options, tmp_path):
    seen = []

    def look(row):
        seen.append([path.name for path in checkpoints(tmp_path)])

    quietly(megalodon, windows, replace(options, checkpoint_steps=2), tmp_path, callbacks=[look])
    assert seen == [[], [], ["step-00000002"], ["step-00000002"], ["step-00000004"], ["step-00000004"]]
    seen.clear()
    other = replace(windows, seed=6)
    folder = tmp_path = tmp_path / "seconds"
    quietly(megalodon, other, replace(options, checkpoint_seconds=1e-9), folder, callbacks=[look])
    assert [names[-1:] for names in seen[1:]] == [[f"step-0000000{step}"] for step in range(1, 6)]


def test_a_limit_of_time_ends_the_run_with_a_low_rate(megalodon, windows, options, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000))
    monkeypatch.setattr("megalodon_edu.training.loop.time.perf_counter", lambda: next(clock))
    options = replace(options, steps=1000, warmup_steps=0, max_seconds=20.0, checkpoint_seconds=1e9)
    result = quietly(megalodon, windows, options, tmp_path)
    rows = read_log(tmp_path / "log.csv")
    assert result.ended == "time" and result.seconds == 20 and rows[-1].step == 20
    assert rows[0].learning_rate == pytest.approx(1e-2)
    assert rows[10].learning_rate == pytest.approx(1e-2 * (0.05 + 0.95 / 2))
    assert rows[-1].learning_rate < 1.1e-3
    assert load_checkpoint(tmp_path).state.seconds == 20


def test_a_loss_that_is_not_finite_stops_with_a_diagnosis(megalodon, windows, options, tmp_path):
    def spoil(row):
        if row.step == 4:
            with torch.no_grad():
                megalodon.layers[1].attention.wv.weight[0, 0] = float("nan")

    with pytest.raises(NonFiniteError) as caught:
        quietly(megalodon, windows, replace(options, checkpoint_steps=3), tmp_path, callbacks=[spoil])
    message = str(caught.value)
    assert "stopped at step 5: the loss is nan" in message
    assert "the parameter layers.1.attention.wv.weight" in message
    assert "at learning rate 0.00" in message and "Try a learning rate of" in message
    assert "The last good checkpoint is" in message and "step-00000003" in message
    assert load_checkpoint(tmp_path).state.step == 3
    assert len(read_log(tmp_path / "log.csv")) == 4


def test_a_parameter_that_an_operator_refuses_gets_the_same_diagnosis(megalodon, windows, options, tmp_path):
    def spoil(row):
        with torch.no_grad():
            megalodon.layers[0].attention.cema.alpha[0, 0] = float("nan")

    with pytest.raises(NonFiniteError, match="at step 2: .* the parameter layers.0.attention.cema.alpha"):
        quietly(megalodon, windows, options, tmp_path, callbacks=[spoil])


def test_a_finite_parameter_that_an_operator_refuses_gets_one_too(megalodon, windows, options, tmp_path):
    def spoil(row):
        with torch.no_grad():
            megalodon.layers[0].attention.cema.alpha.fill_(-1e30)

    with pytest.raises(NonFiniteError, match=r"at step 2: an operator refused a value \(alpha must .* All parameters"):
        quietly(megalodon, windows, options, tmp_path, callbacks=[spoil])


def test_a_model_that_refuses_the_first_batch_is_no_matter_of_learning(windows, options, tmp_path):
    with pytest.raises(ValueError, match="tokens must lie in 0 .. 63"):
        quietly(build_megalodon(vocab_size=64), windows, options, tmp_path)


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_parameters(megalodon, windows, options, tmp_path):
    handle = megalodon.output.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = megalodon.embed.weight.detach().clone()
    with pytest.raises(
        NonFiniteError, match=r"step 1: .* the gradient of output.weight.*No checkpoint had been written"
    ):
        quietly(megalodon, windows, options, tmp_path)
    handle.remove()
    assert torch.equal(megalodon.embed.weight, before)


def test_parameters_that_are_not_finite_are_never_saved(megalodon, windows, options, tmp_path):
    def spoil(row):
        if row.step == 4:
            with torch.no_grad():
                megalodon.embed.weight[0, 0] = float("inf")

    with pytest.raises(NonFiniteError, match="After step 4 the parameter embed.weight is not finite"):
        quietly(megalodon, windows, replace(options, checkpoint_steps=2), tmp_path, callbacks=[spoil])
    assert load_checkpoint(tmp_path).state.step == 2


def test_a_folder_that_holds_a_run_is_not_overwritten(megalodon, windows, options, tmp_path):
    quietly(megalodon, windows, options, tmp_path)
    with pytest.raises(FileExistsError, match="holds a run already; resume it or choose another folder"):
        quietly(build_megalodon(), windows, options, tmp_path)
    assert len(read_log(tmp_path / "log.csv")) == 6


def test_nothing_to_resume_is_an_error(megalodon, windows, options, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        quietly(megalodon, windows, options, tmp_path / "nowhere", resume=True)


def test_another_run_is_not_resumed(megalodon, windows, options, tokens, tmp_path):
    quietly(megalodon, windows, options, tmp_path)
    with pytest.raises(ValueError, match=r"options.learning_rate was 0.01 when .* was written, got 0.5"):
        quietly(megalodon, windows, replace(options, learning_rate=0.5), tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"windows.length was 10 when .* was written, got 9"):
        quietly(megalodon, replace(windows, length=9), options, tmp_path, resume=True)
    other = RandomWindows(tokens.flip(0), windows.batch, windows.length, windows.seed)
    with pytest.raises(ValueError, match="windows.text_sha256 was"):
        quietly(megalodon, other, options, tmp_path, resume=True)
    with pytest.raises(ValueError, match="model.safetensors does not fit the model"):
        quietly(build_transformer(), windows, options, tmp_path, resume=True)
