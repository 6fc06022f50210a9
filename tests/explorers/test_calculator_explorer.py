import numpy as np
import pytest

from megalodon_edu.explorers import MemoryCalculatorExplorer
from megalodon_edu.explorers.calculator import GPUS, NEXT, QUANTITIES, READING, TRAINING, WRITING
from megalodon_edu.measure import cost_model


def costs(**settings):
    """All costs of both models at the explorer's context."""
    explorer = MemoryCalculatorExplorer(**settings)
    return {name: explorer.costs(config, explorer.context) for name, config in explorer.configs().items()}


def test_memory_while_writing_by_hand():
    found = costs(model="7.3B", context=32_768, batch=4)
    assert found["megalodon"]["parameters"] == 7_385_817_088
    assert found["transformer"]["parameters"] == pytest.approx(7_385_817_088, rel=0.02)
    assert found["transformer"]["state"] == 4 * 2 * 32 * 4096 * 32_768 * 2
    for cost in found.values():
        assert cost[WRITING] == 2 * cost["parameters"] + cost["state"]


def test_the_four_quantities_follow_the_cost_model():
    explorer = MemoryCalculatorExplorer(model="small", context=5000, batch=2, chunk="4096 (paper's 7B run)")
    config = explorer.configs()["megalodon"]
    assert config.chunk_size == 4096
    found = explorer.costs(config, 5000)
    assert found[NEXT] == 2 * cost_model.next_token_flops(config, 4095).total
    assert found[READING] == 2 * cost_model.forward_flops(config, 5000).total
    assert found[TRAINING] == cost_model.training_bytes(config, 5000, 2)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_line_that_is_drawn_passes_through_the_place_that_is_read(quantity):
    explorer = MemoryCalculatorExplorer(quantity=quantity)
    explorer.context = int(explorer.values()["contexts"][70])
    values = explorer.values()
    place = 3 + QUANTITIES.index(quantity)
    for name in ("transformer", "megalodon"):
        assert values[name][70] == values[f"here_{name}"][place]
        drawn = [line.get_ydata() for line in explorer.figure().axes[0].lines]
        assert any(np.array_equal(line, 1e9 * values[name]) for line in drawn)


def test_sharing_keys_helps_the_cache_alone():
    plain, shared = costs(), costs(queries_per_key=8)
    assert shared["transformer"]["state"] == plain["transformer"]["state"] / 8
    assert shared["transformer"][NEXT] == pytest.approx(plain["transformer"][NEXT], rel=0.02)
    assert shared["megalodon"] == plain["megalodon"]


def test_every_preset_can_share_keys():
    for model in MemoryCalculatorExplorer().controls["model"]:
        config = MemoryCalculatorExplorer(model=model, queries_per_key=8).configs()["transformer"]
        assert config.num_heads % config.kv_heads == 0


def test_walls_leave_room_for_the_weights():
    explorer = MemoryCalculatorExplorer(model="7.3B", batch=8)
    config = explorer.configs()["transformer"]
    walls = dict(zip(GPUS, explorer.values()["walls"].tolist(), strict=True))
    assert walls["8 GB"] == 0  # the weights alone take 14.8 GB
    for name in ("24 GB", "80 GB"):
        size, wall = GPUS[name], int(walls[name])
        assert explorer.costs(config, wall)[WRITING] <= size < explorer.costs(config, wall + 1)[WRITING]
    assert explorer.values()["fits"].tolist() == [0, 0, 1]


def test_the_crossing_is_where_the_transformer_becomes_dearer_for_good():
    values = MemoryCalculatorExplorer(quantity=READING).values()
    crossing = values["contexts"].tolist().index(values["crossing"][0])
    assert crossing > 0
    assert (values["transformer"] > values["megalodon"])[crossing:].all()
    assert values["transformer"][crossing - 1] <= values["megalodon"][crossing - 1]
