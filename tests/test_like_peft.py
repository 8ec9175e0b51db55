"""Our baselines against PEFT's add_weighted_adapter, adapter for adapter, where PEFT computes what it says."""

import pytest
import torch
from peft import PeftModel
from peft.utils import merge_utils
from transformers import AutoModelForCausalLM

from tada_studio import pipeline
from tada_studio.core import elementwise
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

SAME = {"svd": "svd", "ties": "ties_svd", "dare_ties": "dare_ties_svd", "magnitude_prune": "magnitude_prune_svd"}


@pytest.fixture(scope="module")
def theirs(pico):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico.base), pico.task, adapter_name="task")
    model.load_adapter(pico.domain, adapter_name="domain")
    return model


def updates_of(model, adapter):
    """Name -> (scaled update of that adapter), as PEFT would add it to the weights."""
    layers = {name: layer for name, layer in model.named_modules() if hasattr(layer, "get_delta_weight")}
    return {
        name.removeprefix("base_model.model."): layer.get_delta_weight(adapter).double()
        for name, layer in layers.items()
    }


@pytest.mark.parametrize(("method", "weight"), [(m, w) for m in SAME for w in (1.0, 1.5) if (m, w) != ("svd", 1.5)])
def test_the_merged_updates_are_pefts(method, weight, pico, theirs, monkeypatch):
    pair = pipeline.read_pair(pico.task, pico.domain)
    if method == "dare_ties":  # the chance is ours; what is done with it is theirs
        coins = [
            elementwise.generator(0, name, side) for name in updates_of(theirs, "task") for side in ("task", "domain")
        ]
        monkeypatch.setattr(
            merge_utils,
            "random_pruning",
            lambda tensor, density, rescale: elementwise.thinned(tensor, density, coins.pop(0)),
        )
    name = f"{method}_{int(2 * weight)}"
    theirs.add_weighted_adapter(
        ["task", "domain"], [weight] * 2, name, combination_type=SAME[method], density=0.5, svd_full_matrices=False
    )
    merged = merge(pair, None, Recipe(method=method, strength=weight, density=0.5))
    for module, want in updates_of(theirs, name).items():
        torch.testing.assert_close(merged.modules[module].delta(), want, rtol=0, atol=1e-5 * float(want.norm()))
