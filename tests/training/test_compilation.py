"""A compiled training step: the same run, the same checkpoint, nothing compiled for a look at other lengths."""

import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch._dynamo.testing
from safetensors.torch import load_file
from tiny_models import build_megalodon, build_transformer, document

from megalodon_edu.training import compilation
from megalodon_edu.training.checkpoint import load_checkpoint
from megalodon_edu.training.compilation import choose_compile
from megalodon_edu.training.evaluation import quick_look
from megalodon_edu.training.log import read_log
from megalodon_edu.training.loop import train

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def press_ctrl_c_after(step):
    return lambda row: row.step == step and signal.raise_signal(signal.SIGINT)


@pytest.fixture
def counter(monkeypatch):
    """Compile without generating code, which takes a minute, and count the graphs."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    return counter


@pytest.mark.parametrize("build", [build_megalodon, build_transformer])
def test_a_compiled_run_is_interrupted_and_resumed(build, counter, windows, options, tmp_path):
    options = replace(options, compile="on", accumulate=2)
    documents = [document(b"A look at %d other bytes." % length * length) for length in (1, 2, 3)]

    def look(model):
        return quick_look(model, documents)

    run = partial(train, windows=windows, validate=look, progress_bar=False)
    whole, plain = build(), build()
    run(whole, options=options, folder=tmp_path / "whole")
    assert counter.frame_count == 1
    run(plain, options=replace(options, compile="off"), folder=tmp_path / "plain")
    run(build(), options=options, folder=tmp_path / "pieces", callbacks=[press_ctrl_c_after(3)])
    resumed = build()
    assert run(resumed, options=options, folder=tmp_path / "pieces", resume=True).step == 6
    for a, b, c in zip(whole.parameters(), resumed.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-3, atol=1e-4)
    names = [set(load_file(next((tmp_path / name).glob("step-*/model.safetensors")))) for name in ("whole", "plain")]
    assert names[0] == names[1] == set(dict(plain.named_parameters()))


def test_a_run_may_be_resumed_uncompiled(counter, windows, options, tmp_path):
    run = partial(train, windows=windows, folder=tmp_path, progress_bar=False)
    run(build_megalodon(), options=replace(options, steps=2, compile="on"))
    result = run(build_megalodon(), options=replace(options, compile="off"), resume=True)
    assert result.step == 6 and counter.frame_count == 1


def test_auto_compiles_on_a_gpu_that_runs_kernels(monkeypatch):
    monkeypatch.setattr(compilation, "why_not", lambda device: None)
    assert choose_compile("auto", GPU)[0] and not choose_compile("auto", CPU)[0]
    assert choose_compile("on", CPU)[0] and not choose_compile("off", GPU)[0]
    monkeypatch.setattr(compilation, "why_not", lambda device: "too old")
    assert not choose_compile("auto", GPU)[0]


def test_a_gpu_without_triton_cannot_compile(monkeypatch):
    monkeypatch.setattr(compilation, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match='compile "on" needs the package triton'):
        choose_compile("on", GPU)
    with pytest.raises(ValueError, match="compile must be one of auto, on, off, got 'yes'"):
        choose_compile("yes", CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("build", [build_megalodon, build_transformer])
def test_a_run_on_a_gpu_compiles_and_resumes(build, windows, options, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    assert choose_compile("auto", GPU)[0]
    run = partial(train, windows=windows, progress_bar=False)
    whole = build().cuda()
    run(whole, options=options, folder=tmp_path / "whole")
    run(build().cuda(), options=options, folder=tmp_path / "pieces", callbacks=[press_ctrl_c_after(3)])
    resumed = load_checkpoint(tmp_path / "pieces").model.cuda()
    run(resumed, options=options, folder=tmp_path / "pieces", resume=True)
    first, second = (read_log(tmp_path / name / "log.csv") for name in ("whole", "pieces"))
    assert [row.step for row in second] == [1, 2, 3, 4, 5, 6]
    for a, b in zip(first, second, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-2)
