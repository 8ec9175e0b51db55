"""Baselines that a reviewer would ask for: each against an example worked by hand."""

import pytest
import torch
from dense import analysis, deltas, lora, name_of, near, pair_of

from tada_studio.core.gates import Readings
from tada_studio.core.merge import expand
from tada_studio.lora import LoraModule
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe

ONE = torch.ones(1, 1)


def out_of(pair, recipe, readings=None):
    known, merge = analysis(pair), Merge(pair, readings, recipe)
    return {name: module.delta() for name, module in expand(known, merge.merged, torch.float32).items()}


def test_lines_rise_from_half_to_whole():
    """Three layers of 1 + 4: weights .5, .75 and 1."""
    pair = pair_of(
        [LoraModule(name_of(i), ONE, ONE, 1.0) for i in range(3)],
        [LoraModule(name_of(i), ONE, 4 * ONE, 1.0) for i in range(3)],
    )
    assert [float(d) for d in out_of(pair, Recipe(method="lines")).values()] == pytest.approx([2.5, 3.75, 5.0])


def test_regmean_says_on_each_kind_of_inputs_what_their_adapter_says():
    """Inputs x1 are the task's and x2 the domain's, with no overlap: the merge is the task's first column and the domain's second.
    Where the kinds are equal, it is the average."""
    task = LoraModule(name_of(0), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.eye(2), 1.0)
    domain = LoraModule(name_of(0), torch.tensor([[5.0, 6.0], [7.0, 8.0]]), torch.eye(2), 1.0)
    pair = pair_of([task], [domain])

    def readings(first, second):
        """z = [x; x], since both A are the identity."""
        half = [torch.tensor(x, dtype=torch.float64).repeat(2) for x in (first, second)]
        on = [torch.outer(z, z)[None] for z in half]
        some = torch.ones(1, 1, dtype=torch.float64)
        about = {"task": pair.task.digest, "domain": pair.domain.digest}
        rest = (torch.ones(1, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool), about)
        on_task = Readings(pair.names, some, some, some, some, on[0], *rest)
        return Readings(pair.names, some, some, some, some, on[1], *rest, on_task=on_task)

    apart = out_of(pair, Recipe(method="regmean"), readings([1.0, 0.0], [0.0, 1.0]))[name_of(0)]
    near(apart, torch.tensor([[1.0, 6.0], [3.0, 8.0]], dtype=torch.float64), rounding=1e-4)
    alike = out_of(pair, Recipe(method="regmean"), readings([1.0, 0.0], [1.0, 0.0]))[name_of(0)]
    near(alike[:, 0], torch.tensor([3.0, 5.0], dtype=torch.float64), rounding=1e-4)


def test_a_placebo_has_the_domains_spectrum_and_nothing_of_what_it_learned():
    task = [lora(name_of(0), 1, 40, 30, 2, kind="zero up")]
    domain = [lora(name_of(0), 2, 40, 30, 3)]
    task[0] = LoraModule(name_of(0), 1e-6 * torch.ones(40, 2), torch.ones(2, 30), 1.0)  # there, and next to nothing
    pair = pair_of(task, domain)
    mine = deltas(pair, name_of(0))[1]
    draws = [out_of(pair, Recipe(method="placebo", rank=5, seed=seed))[name_of(0)] for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and float((draws[0] - draws[2]).norm()) > float(mine.norm())
    near(torch.linalg.svdvals(draws[0])[:3], torch.linalg.svdvals(mine)[:3], float(mine.norm()), rounding=1e-4)
    assert abs(float((draws[0] * mine).sum())) < 0.2 * float(mine.square().sum())
