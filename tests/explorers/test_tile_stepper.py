from megalodon_edu.explorers import TileStepperExplorer
from megalodon_edu.explorers.tile_stepper import ORDERS

ALONG, DOWN, THROUGH = ORDERS


def test_along_a_row_the_last_block_is_masked():
    explorer = TileStepperExplorer(rows=2, columns=10, gap=6, block=8, order=ALONG, program=3)
    values = explorer.values()
    assert values["places"].tolist() == list(range(16 + 8, 16 + 16))
    assert values["exists"].tolist() == [1, 1] + 6 * [0]
    assert values["here"].tolist() == [8, 6, 8, 1]
    assert values["all"].tolist() == [32, 12, 80, 4]


def test_down_a_column_every_number_has_a_sector_of_its_own():
    values = TileStepperExplorer(rows=8, columns=16, gap=0, block=8, order=DOWN, program=5).values()
    assert values["places"].tolist() == list(range(5, 128, 16))
    assert values["here"].tolist() == [8, 0, 32, 8]
    assert TileStepperExplorer(rows=8, columns=16, gap=0, block=8, order=ALONG).values()["here"][3] == 1


def test_straight_through_wastes_fewer_lanes_and_steps_over_the_gap():
    explorer = TileStepperExplorer(rows=3, columns=5, gap=3, block=8, order=THROUGH, program=1)
    assert explorer.values()["places"].tolist() == [11, 12, 16, 17, 18, 19, 20, 24]
    assert explorer.values()["all"].tolist()[:2] == [16, 1]
    explorer.order = ALONG
    assert explorer.values()["all"].tolist()[:2] == [24, 9]


def test_a_program_that_is_not_there_shows_the_last():
    values = TileStepperExplorer(rows=1, columns=4, block=4, program=60).values()
    assert values["places"].tolist() == [0, 1, 2, 3] and len(values["sectors"]) == 1
