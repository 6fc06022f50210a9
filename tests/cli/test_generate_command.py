import io
import signal

import pytest
import torch

from megalodon_edu import cli
from megalodon_edu.cli import generate as command
from megalodon_edu.cli.generate import TextStream
from megalodon_edu.models import (
    Generation,
    Megalodon,
    MegalodonConfig,
    Transformer,
    TransformerConfig,
    megalodon_state_bytes,
)
from megalodon_edu.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from megalodon_edu.training.optimizer import build_optimizer
from megalodon_edu.training.options import TrainingOptions

SIZES = {"num_layers": 1, "model_dim": 8, "ffn_hidden_dim": 8, "num_heads": 1}


def save(model, folder, source="library"):
    options = TrainingOptions()
    optimizer = build_optimizer(model, options)
    model.loss(torch.arange(8).reshape(1, 8)).backward()
    optimizer.step()
    save_checkpoint(folder, model, optimizer, TrainingState(1, 0.0, options, {"source": source, "seed": 0}))


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    sizes = {"z_dim": 4, "value_dim": 8, "cema_ndim": 2, "chunk_size": 8, "norm_num_groups": 2}
    save(Megalodon(MegalodonConfig(**SIZES, **sizes)), tmp_path)
    return tmp_path


def write(folder, *arguments):
    return cli.main(["generate", "--checkpoint", str(folder), *map(str, arguments)])


def counted(calls, forward):
    def call(model, *arguments):
        calls.append(arguments)
        return forward(model, *arguments)

    return call


def streamed(data):
    out = io.StringIO()
    stream = TextStream(out)
    seen = []
    for byte in data:
        stream.write(byte)
        seen.append(out.getvalue())
    stream.finish()
    return seen, out.getvalue()


def test_a_character_appears_with_its_last_byte():
    seen, text = streamed("aé🐋".encode())
    assert seen == ["a", "a", "aé", "aé", "aé", "aé", "aé🐋"]
    assert text == "aé🐋\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"a\xffb", "a\ufffdb\n"), (b"a\xc3", "a\ufffd\n"), (b"\xc3\x00b", "\ufffd\n\nb\n"), (b"", "\n")],
)
def test_the_text_is_always_valid(data, text):
    assert streamed(data)[1] == text


def test_prompt_and_text_go_to_standard_output(run, capsys):
    assert write(run, "--prompt", "Call me Ishmaël", "--max-tokens", 20) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Call me Ishmaël") and said.out.endswith("\n")
    assert "[20 bytes in " in said.err


def test_the_same_seed_writes_the_same_text(run, capsys):
    texts = []
    for seed in (1, 1, 2):
        write(run, "--max-tokens", 30, "--seed", seed)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_the_choices_reach_the_sampling(run, capsys, monkeypatch):
    given = {}
    real = command.generate

    def look(model, prompt, max_tokens, **options):
        given.update(options, prompt=prompt.tolist(), max_tokens=max_tokens)
        return real(model, prompt, max_tokens, **options)

    monkeypatch.setattr(command, "generate", look)
    write(run, "--prompt", "ab", "--max-tokens", 3, "--temperature", 0.5, "--top-k", 7, "--top-p", 0.9, "--seed", 4)
    assert given.pop("on_token") and given.pop("decoder")
    expected = {"temperature": 0.5, "top_k": 7, "top_p": 0.9, "seed": 4}
    assert given == {**expected, "prompt": [0, 97, 98], "max_tokens": 3}


@pytest.mark.parametrize(("backend", "decodes"), [("auto", True), ("torch", True), ("reference", False)])
def test_a_decoder_writes_unless_the_loop_is_asked_for(run, capsys, monkeypatch, backend, decodes):
    calls = []
    monkeypatch.setattr(Megalodon, "forward", counted(calls, Megalodon.forward))
    write(run, "--prompt", "ab", "--max-tokens", 5, "--backend", backend)
    assert len(calls) == (1 if decodes else 5)
    assert "[5 bytes in" in capsys.readouterr().err


def test_both_ways_write_the_same_text(run, capsys):
    texts = []
    for backend in ("torch", "reference"):
        write(run, "--prompt", "The whale", "--max-tokens", 20, "--temperature", 0, "--backend", backend)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_ctrl_c_keeps_what_was_written(run, capsys, monkeypatch):
    write_one, count = TextStream.write, iter(range(1, 100))

    def press_ctrl_c(stream, token):
        write_one(stream, token)
        if next(count) == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TextStream, "write", press_ctrl_c)
    assert write(run, "--max-tokens", 50) == 130
    said = capsys.readouterr()
    assert said.out.endswith("\n") and "[interrupted after 5 bytes in " in said.err


def test_a_transformer_beyond_its_context_says_so(tmp_path, capsys):
    save(Transformer(TransformerConfig(**SIZES, context_size=16)), tmp_path)
    write(tmp_path, "--max-tokens", 15)
    assert "note:" not in capsys.readouterr().err
    write(tmp_path, "--max-tokens", 16)
    assert "was trained on 16 bytes of context" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-tokens", 0], "max_tokens must be at least 1, got 0"),
        (["--temperature", -1], "temperature must be a number of at least 0, got -1.0"),
        (["--top-k", 0], "top_k must be at least 1, got 0"),
        (["--top-p", 1.5], "top_p must lie in (0, 1], got 1.5"),
        (["--prompt", "a\0b"], "must not hold the byte 0"),
        (["--seed", -1], "seed must "),
        (["--prompt-file", "nowhere.txt"], "--prompt-file must name a file that can be read, got 'nowhere.txt' (No"),
        (["--device", "tpu"], "device must be cpu or cuda, got 'tpu'"),
    ],
)
def test_what_cannot_work_ends_with_one_message(arguments, message, run, capsys):
    assert write(run, *arguments) == 1
    assert message in capsys.readouterr().err


def test_a_missing_checkpoint_is_named(tmp_path, capsys):
    assert write(tmp_path / "nowhere") == 1
    said = capsys.readouterr().err
    assert "there is no folder" in said and f"`megalodon-edu train --out {tmp_path / 'nowhere'}`" in said


def test_a_prompt_comes_from_a_file_or_from_standard_input(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "start.txt").write_bytes("Ishmaël, ".encode())
    texts = []
    write(run, "--prompt", "Ishmaël, ", "--max-tokens", 20)
    texts.append(capsys.readouterr().out)
    write(run, "--prompt-file", tmp_path / "start.txt", "--max-tokens", 20)
    texts.append(capsys.readouterr().out)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Ishmaël, ".encode())))
    write(run, "--prompt-file", "-", "--max-tokens", 20)
    texts.append(capsys.readouterr().out)
    assert texts[0].startswith("Ishmaël, ") and texts[0] == texts[1] == texts[2]


def test_a_character_may_begin_in_the_prompt_and_end_in_the_text(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "cut.txt").write_bytes(b"a\xc3")
    monkeypatch.setattr(
        command, "generate", lambda *args, on_token, **more: on_token(0xA9) or Generation([1], None, False)
    )
    write(run, "--prompt-file", tmp_path / "cut.txt")
    assert capsys.readouterr().out == "aé\n"


@pytest.mark.parametrize("length", [3, 11, 40])
def test_the_last_line_tells_the_bytes_of_the_state(length, run, capsys):
    write(run, "--max-tokens", length)
    config = load_checkpoint(run).model.config
    held, most = megalodon_state_bytes(config, length), megalodon_state_bytes(config, 7)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"[the state takes {held:,} bytes; it never takes more than {most:,}, however long the text]"


def test_the_last_line_tells_how_a_cache_grows(tmp_path, capsys):
    save(Transformer(TransformerConfig(**SIZES, context_size=16)), tmp_path)
    write(tmp_path, "--max-tokens", 10)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "[the state takes 640 bytes, a cache that grows by 64 with every byte of text]"
