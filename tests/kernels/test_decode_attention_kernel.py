"""One query against a buffer that is filled up to a place, against a plain softmax in float64."""

import pytest
import torch

from megalodon_edu.kernels.decode_attention import decode_attention_triton


def truth(q, keys, values, place, scale):
    shared = q.shape[1] // keys.shape[1]
    keys, values = (t[:, :, : place + 1].double().repeat_interleave(shared, 1) for t in (keys, values))
    weights = (scale * torch.einsum("bhd,bhsd->bhs", q.double(), keys)).softmax(-1)
    return torch.einsum("bhs,bhsv->bhv", weights, values)


def error(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("place", [0, 1, 63, 64, 150, 199])
@pytest.mark.parametrize(("heads", "key_heads", "width", "value"), [(1, 1, 16, 24), (4, 2, 6, 5), (2, 2, 33, 300)])
def test_it_is_a_softmax_over_the_filled_places(place, heads, key_heads, width, value, device):
    torch.manual_seed(place)
    q = 3 * torch.randn(2, heads, width, device=device)
    keys = torch.randn(2, key_heads, 200, width, device=device)
    values = torch.randn(2, key_heads, 200, value, device=device)
    expected = truth(q, keys, values, place, 0.5)
    for buffer in (keys, values):
        buffer[:, :, place + 1 :] = float("nan")  # never read
    found = decode_attention_triton(q, keys, values, torch.tensor([place], device=device), 0.5)
    assert error(found, expected) < 1e-6


def test_many_blocks_and_large_logits(device):
    torch.manual_seed(0)
    q = 100 * torch.randn(1, 1, 16, device=device)
    keys, values = torch.randn(2, 1, 1, 1500, 16, device=device)
    found = decode_attention_triton(q, keys, values, torch.tensor([1490], device=device))
    assert error(found, truth(q, keys, values, 1490, 1.0)) < 1e-4


def test_what_does_not_fit_is_named(device):
    q, keys, place = torch.ones(1, 2, 4, device=device), torch.ones(1, 2, 8, 4, device=device), torch.tensor([0])
    place = place.to(device)
    with pytest.raises(ValueError, match=r"keys must have the shape \(batch=1, head, capacity, key=4\)"):
        decode_attention_triton(q, keys[..., :3], keys, place)
    with pytest.raises(ValueError, match="kv_head must divide head, got kv_head=2 and head=1"):
        decode_attention_triton(q[:, :1], keys, keys, place)
    with pytest.raises(TypeError, match="q must be float32, float16 or bfloat16, got torch.float64"):
        decode_attention_triton(q.double(), keys, keys, place)
    with pytest.raises(TypeError, match="place must be integers"):
        decode_attention_triton(q, keys, keys, place.float())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_buffers_on_a_gpu(dtype, device):
    if device.type != "cuda":
        pytest.skip("needs a CUDA GPU")
    torch.manual_seed(0)
    for heads, key_heads, width, value in ((1, 1, 256, 2048), (16, 16, 64, 64), (16, 4, 128, 128)):
        q = torch.randn(1, heads, width, device=device, dtype=dtype)
        keys = torch.randn(1, key_heads, 2048, width, device=device, dtype=dtype)
        values = torch.randn(1, key_heads, 2048, value, device=device, dtype=dtype)
        for place in (0, 777, 2047):
            found = decode_attention_triton(q, keys, values, torch.tensor([place], device=device), 0.1)
            assert error(found, truth(q, keys, values, place, 0.1)) < (1e-5 if dtype == torch.float32 else 1e-2)
