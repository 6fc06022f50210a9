"""The tables at the top of docs/kernels.md say what the recordings say."""

from pathlib import Path

import pytest

from megalodon_edu.recordings import recording

LOG = (Path(__file__).resolve().parents[2] / "docs" / "kernels.md").read_text(encoding="utf-8")
PASSES = {"forward": "forward", "forward+backward": "both"}


def rows(name):
    return recording(name).about["rows"]


def test_every_kernel_s_time_floor_and_peer():
    for row in rows("kernels_h200"):
        kernel, floor, eager = (
            1e3 * s for s in (row["seconds"]["triton"], row["floor"]["seconds"], row["seconds"]["torch"])
        )
        shape = ", ".join(map(str, row["shape"]))
        assert f"| {row['work']} ({shape}) | {PASSES[row['what']]} | {kernel:.3f} | {floor:.3f} | {eager:.2f} |" in LOG


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_largest_errors(dtype):
    found = rows("kernel_errors_h200")
    assert f"over all {len(found)} rows" in LOG and all(row["within"] and row["same_bits"] for row in found)
    for work in {row["work"] for row in found if row["dtype"] == dtype}:
        largest = max(max(row["errors"].values()) for row in found if (row["work"], row["dtype"]) == (work, dtype))
        said = next(line for line in LOG.splitlines() if line.startswith(f"| {work} | "))
        assert said.split(" | ")[1 + (dtype == "bfloat16")].removesuffix(" |") == f"{largest:.1e}"


def test_the_whole_models():
    names = {"Transformer": "Transformer", "Megalodon, Triton": "Megalodon on its kernels"}
    found: dict[str, str] = {}
    for row in rows("model_h200"):
        name = names[row["model"]] + ", compiled" * row["compiled"] + ", less kept" * row["recompute"]
        found.setdefault(name, f"| {name} |")
        found[name] += f" {1e3 * row['seconds']:.1f} ms | {row['peak_bytes'] / 2**30:.2f} GiB |"
    assert len(found) == 6 and all(line in LOG for line in found.values())


def test_a_step_of_decoding():
    for compiled, name in ((False, "as it is"), (True, "compiled")):
        steps = [row for row in rows("decode_h200") if row["compiled"] == compiled]
        ours = [f"{1e3 * row['seconds']:.3f}" for row in steps if row["model"] == "Megalodon"]
        theirs = [f"{1e3 * row['seconds']:.3f}" for row in steps if row["model"] == "Transformer"]
        assert f"| {name} | {' | '.join(ours + theirs)} |" in LOG
    assert all(abs(row["over_first"] - 1) < 0.05 for row in rows("decode_h200"))  # "the position does not matter"
