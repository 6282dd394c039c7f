"""The worked example of docs/ is what the tool computes, and what the RTL does."""

import numpy as np

from docs.worked_example import PAGE, example, page
from fdht.sim.simulate import simulate


def test_the_page_is_what_the_tool_computes():
    assert PAGE.read_text() == page(), "write it anew: .venv/bin/python -m docs.worked_example"


def test_the_rtl_computes_what_the_page_says():
    bundle, image = example()
    result = simulate(image, bundle.clips)
    assert result.mismatches == [] and result.words_compared == result.words_expected > 0
    assert np.array_equal(result.logits, bundle.logits) and np.array_equal(result.hidden, bundle.hidden)
    assert result.cycles_simulated == result.cycles_predicted == [image.cycles(bundle.clips.shape[1])]
