import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from megalodon_edu.models import Megalodon, MegalodonConfig, Transformer, generate, make_decoder, match_transformer
from megalodon_edu.studies import streaming
from megalodon_edu.studies.stream_file import SavedStream, load_stream, save_stream
from megalodon_edu.studies.streaming import PARTS, StreamOptions, noise, record, stream

CPU = torch.device("cpu")
CONFIG = MegalodonConfig(
    num_layers=2, model_dim=16, num_heads=1, z_dim=8, value_dim=16, ffn_hidden_dim=32, norm_num_groups=4,
    cema_ndim=2, chunk_size=16,
)  # fmt: skip
OPTIONS = StreamOptions(block=20)


def megalodon():
    torch.manual_seed(0)
    return Megalodon(CONFIG).eval()


def transformer():
    torch.manual_seed(0)
    return Transformer(match_transformer(CONFIG, context_size=32)).eval()


def test_a_stream_that_was_stopped_again_and_again_ends_with_the_same_bytes(tmp_path):
    blocks, whole, ended = stream(megalodon(), OPTIONS, 120)
    assert (ended, [block.end for block in blocks]) == ("finished", [20, 40, 60, 80, 100, 120])
    for calls in range(1, 7):
        blocks, written, ended = stream(megalodon(), OPTIONS, 120, tmp_path / "stream", limit=0)
        assert len(written) == len(blocks) * 20 == calls * 20
    assert ended == "finished"
    assert torch.equal(written, whole)
    assert len(set(whole.tolist())) > 50  # not a loop that anything would repeat


PROGRAM = """
import sys, time, torch
from pathlib import Path
sys.path.insert(0, {here!r})
from test_streaming import OPTIONS, megalodon
from megalodon_edu.studies.streaming import stream
torch.set_num_threads(1)
print(stream(megalodon(), OPTIONS, 600, Path({file!r}), on_block=lambda blocks: time.sleep({pause}))[1].tolist())
"""


def test_a_stream_that_was_killed_goes_on_to_the_same_bytes(tmp_path):
    file = tmp_path / "stream"

    def program(pause):
        source = PROGRAM.format(here=os.path.dirname(__file__), file=str(file), pause=pause)
        return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)

    first = program(pause=0.05)
    while not file.exists() and first.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    reached = len(load_stream(file, make_decoder(megalodon()).state()).written)
    assert 0 < reached < 600
    out, _ = program(pause=0).communicate()
    assert json.loads(out) == stream(megalodon(), OPTIONS, 600)[1].tolist()


def test_without_temperature_it_writes_what_generate_writes():
    _, written, _ = stream(megalodon(), replace(OPTIONS, temperature=0.0), 40)
    assert written.tolist() == generate(megalodon(), torch.tensor([0]), 40, temperature=0).tokens.tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_largest_of_logits_and_noise_is_a_draw_from_the_softmax(temperature):
    logits = torch.full((256,), -1e4)
    logits[:4] = torch.tensor([0.0, 1.0, 2.0, -1.0])
    options = StreamOptions(block=20_000, temperature=temperature)
    drawn = (logits + noise(options, 3)).argmax(-1).bincount(minlength=256) / 20_000
    assert drawn.tolist() == pytest.approx((logits / temperature).softmax(-1).tolist(), abs=0.012)


def test_every_block_and_seed_has_its_own_noise():
    first, again, later = noise(OPTIONS, 0), noise(OPTIONS, 0), noise(OPTIONS, 1)
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert not torch.equal(first, noise(replace(OPTIONS, seed=1), 0))


def test_the_state_is_bounded_and_the_cache_grows():
    held = [block.state_bytes for block in stream(megalodon(), OPTIONS, 160)[0]]
    assert held[3] == held[7] and max(held) < 3500  # 80 and 160 bytes end a chunk of 16
    cache = [block.state_bytes for block in stream(transformer(), OPTIONS, 160)[0]]
    assert cache == [20 * n * cache[0] // 20 for n in range(1, 9)]


def test_it_gives_up_when_ten_times_as_slow(monkeypatch):
    write, seconds = streaming.write_block, iter([1.0, 2.0, 9.9, 10.0, 1.0])

    def slower(*arguments):
        return write(*arguments)[0], [next(seconds)] * PARTS

    monkeypatch.setattr(streaming, "write_block", slower)
    blocks, written, ended = stream(transformer(), OPTIONS, 120)
    assert ended == "ten times as slow as in the first block"
    assert [block.bytes_per_second for block in blocks] == pytest.approx([2, 1, 0.202, 0.2])
    assert len(written) == 80


def test_it_says_why_it_failed(monkeypatch):
    write, calls = streaming.write_block, []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise torch.OutOfMemoryError
        return write(*arguments)

    monkeypatch.setattr(streaming, "write_block", fail)
    blocks, written, ended = stream(transformer(), OPTIONS, 120)
    assert (len(blocks), len(written), ended) == (2, 40, "out of memory")


def test_a_file_of_another_stream_is_refused(tmp_path):
    file = tmp_path / "stream"
    stream(megalodon(), OPTIONS, 40, file)
    with pytest.raises(ValueError, match="other options or weights"):
        stream(megalodon(), replace(OPTIONS, seed=1), 60, file)
    deeper = Megalodon(replace(CONFIG, num_layers=3)).eval()
    with pytest.raises(ValueError, match="of another model"):
        stream(deeper, OPTIONS, 60, file)
    shallower = Megalodon(replace(CONFIG, num_layers=1)).eval()
    with pytest.raises(ValueError, match="of another model"):
        stream(shallower, OPTIONS, 60, file)
    file.write_bytes(b"nothing of use")
    with pytest.raises(ValueError, match="damaged"):
        stream(megalodon(), OPTIONS, 60, file)


def test_a_saved_stream_comes_back_bit_for_bit(tmp_path):
    decoder = make_decoder(megalodon())
    for token in range(1, 20):
        decoder.step(torch.tensor([token]))
    state = decoder.state()
    saved = SavedStream(torch.arange(1, 20, dtype=torch.uint8), state, {"a": [1, 0.5]})
    save_stream(tmp_path / "stream", saved)
    found = load_stream(tmp_path / "stream", make_decoder(megalodon()).state())
    leaves, others = (torch.utils._pytree.tree_leaves(one.state) for one in (saved, found))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(leaves, others, strict=True))
    assert torch.equal(found.written, saved.written) and found.about == saved.about


def test_blocks_are_whole():
    with pytest.raises(ValueError, match="block must divide total, got block=20 and total=50"):
        stream(megalodon(), OPTIONS, 50)
    with pytest.raises(ValueError, match="PARTS must divide block"):
        StreamOptions(block=15)


def test_the_recording_holds_the_text_and_its_numbers(tmp_path, monkeypatch):
    written = []
    run = streaming.stream
    monkeypatch.setattr(streaming, "stream", lambda *a: written.append(run(*a)) or written[-1])
    record(tmp_path, CPU, quick=True, seconds=0)
    assert json.loads((tmp_path / "run.json").read_text())["streams"]["megalodon"]["ended"] == "stopped after 0 seconds"
    record(tmp_path, CPU, quick=True)
    about = json.loads((tmp_path / "run.json").read_text())
    found, text = about["streams"]["megalodon"], about["streams"]["megalodon"]["text"]
    assert (found["ended"], found["bytes"], len(found["blocks"])) == ("finished", 120, 6)
    assert text["sha256"] == hashlib.sha256(written[-1][1].numpy().tobytes()).hexdigest()
    assert text["first"] == text["last"] == written[-1][1].numpy().tobytes().decode(errors="replace")
    assert [row["end"] for row in text["statistics"]] == [row["end"] for row in about["human"]["statistics"]]
    assert about["streams"]["transformer"]["bytes"] == 20 and "text" not in about["streams"]["transformer"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    calls = len(written)
    record(tmp_path, CPU, quick=True)
    assert len(written) == calls == 3
    with pytest.raises(ValueError, match="streams of other options"):
        record(tmp_path, CPU, quick=True, seed=1)


def test_a_checkpoint_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="checkpoint must name a trained Megalodon"):
        record(tmp_path, CPU)
