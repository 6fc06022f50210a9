import json

import numpy as np
import pytest

import megalodon_edu.explorers as explorers

CLASSES = [getattr(explorers, name) for name in explorers.__all__]
ASK = """
(state) => Object.fromEntries(
  Object.entries(explorer.formulas.values({ ...explorer.model.state, ...state })).map(([k, v]) => [k, Array.from(v)])
)
"""


@pytest.mark.parametrize("explorer", CLASSES)
def test_the_browser_computes_what_python_computes(explorer, mount):
    built = explorer()
    page = mount(built)
    settings = built.settings()
    for name, ends in built.controls.items():
        for end in ends:
            case = explorer(**{**settings, name: end})
            found = page.evaluate(ASK, json.loads(json.dumps(case.settings())))
            expected = case.values()
            assert set(found) == set(expected)
            for key, values in expected.items():
                np.testing.assert_allclose(
                    found[key], np.ravel(values), rtol=1e-8, atol=1e-10, err_msg=f"{key} at {name} = {end}"
                )
