"""What a merge says of itself: its name, energies by whom they belong to, a trend with all of its doubts."""

import json

import pytest
import torch

from tada_studio import cli, pipeline, report
from tada_studio.base_model.inputs import generic_inputs
from tada_studio.core.gates import Depth
from tada_studio.core.stats import Interval, resampled_blocks, spearman, spearman_pairs
from tada_studio.figures import lost_picture
from tada_studio.lora import Adapter, LoraModule, Pair
from tada_studio.pipeline.merge import Merge
from tada_studio.read import read_adapter
from tada_studio.recipe import Recipe


def module(name, *directions, width=24):
    """Directions (place, size): size e_place e_place^T."""
    eye = torch.eye(width)
    up = torch.stack([eye[:, place] for place, _ in directions], 1)
    down = torch.stack([size * eye[place] for place, size in directions])
    return LoraModule(name, up, down, 1.0)


def pair_of(task, domain):
    return Pair(*(Adapter(label, {m.name: m for m in some}) for label, some in (("a", task), ("b", domain))))


NAMES = [f"model.layers.{i}.self_attn.q_proj" for i in range(2)]


# -- a name ----------------------------------------------------------------------------------------------------------


def test_without_readings_a_merge_is_called_even_gates_everywhere(pico, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["merge", "--task", str(pico.task), "--domain", str(pico.domain), "--json", "-o", str(out)]
    assert cli.main([*words, "--method", "gates"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["merged_as"] == "even gates" and said["says"][0].startswith(
        "This is not gates: it needs a probe of domain inputs"
    )
    assert json.loads((out / "recipe.json").read_text())["counted"]["as"] == "even gates"
    card = (out / "README.md").read_text()
    assert (
        "even gates of" in card and "Recipe: even gates" in card and "sharpness" not in card and "tada of" not in card
    )
    assert read_adapter(out).modules


def test_a_name_says_what_counted(pico):
    pair = pipeline.read_pair(pico.task, pico.domain)
    assert Merge(pair, None, Recipe(method="gates", overrides=("* : 0.7",))).called == "gates by hand"
    assert Merge(pair, None, Recipe(method="gates", overrides=("layer 0 : lock",))).called == "even gates"
    assert Merge(pair, None, Recipe(method="linear", sharpness=2.0)).called == "linear"
    assert Merge(pair, None, Recipe(method="linear", sharpness=2.0)).adapter.origin.to_dict()["counted"] == {
        "as": "linear", "knobs": ["rank", "strength", "balance", "head", "dtype"], "ignored": ["sharpness"],
    }  # fmt: skip


def test_a_flag_that_counts_for_nothing_is_refused_by_the_command_line(pico, tmp_path, capsys):
    words = ["merge", "--task", str(pico.task), "--domain", str(pico.domain), "-o", str(tmp_path / "out")]
    assert cli.main([*words, "--method", "linear", "--overrides", "* : 1"]) == 2
    assert "linear does not use overrides" in capsys.readouterr().err
    assert cli.main([*words, "--method", "gates", "--sharpness", "2"]) == 2
    assert "Without probe readings sharpness changes nothing" in capsys.readouterr().err


# -- energies --------------------------------------------------------------------------------------------------------


def test_what_is_dropped_is_a_share_of_each_adapters_own_energy():
    """A small task against a domain three times as large: the task loses all but a fraction, the sum of both a little."""
    task = [module(NAMES[0], (0, 2.0), (5, 1.0)), module(NAMES[1], (3, 1.0))]
    domain = [module(NAMES[0], (0, -9.0), (7, 3.0)), module(NAMES[1], (4, 5.0))]
    merge = Merge(pair_of(task, domain), None, Recipe(method="gates"))
    drops = merge.how.drops
    torch.testing.assert_close(merge.dropped_energy, torch.tensor([[0.8, 0.0], [0.0, 0.0]], dtype=torch.float64))
    assert float(drops.lost[0]) == pytest.approx(4 / 95)
    where = merge.pair.addresses[NAMES[0]]
    said = report.cell_sentence(merge.merged, merge.module_detail(where))
    assert "That is 80.0% of the task's and 0.0% of the domain's energy in this module." in said
    assert "66.7% of task" in report.conflict_sentence(merge.merged)


def test_one_module_that_loses_much_is_not_hardly_any_conflict():
    task = [module(NAMES[0], (0, 1.0)), module(NAMES[1], (3, 90.0))]
    domain = [module(NAMES[0], (0, -2.0)), module(NAMES[1], (4, 50.0))]
    said = report.conflict_sentence(Merge(pair_of(task, domain), None, Recipe(method="gates")).merged)
    assert "hardly any conflict" not in said and "one module loses 100.0% of an adapter's energy there" in said


@pytest.mark.parametrize("most", [0.01, 1.0])
def test_a_picture_of_conflict_has_one_scale_for_every_pair(most):
    """Else a hundredth, where that is the most of a map, would be as red as a whole adapter."""
    gates = Merge(pair_of([module(NAMES[0], (0, 1.0))], [module(NAMES[0], (1, 3.0))])).gates
    heat = lost_picture(gates, torch.tensor([[most]], dtype=torch.float64)).plot.data[0]
    assert (heat.zmin, heat.zmax, heat.z[0][0]) == (0.0, 1.0, pytest.approx(most**0.5))
    assert list(heat.colorbar.ticktext) == ["0%", "1%", "10%", "50%", "100%"]


def test_an_even_share_says_whose_energy_comes_out():
    task, domain = [module(NAMES[0], (0, 1.0))], [module(NAMES[0], (1, 3.0))]
    merge = Merge(pair_of(task, domain), None, Recipe(method="gates", rank=2))
    torch.testing.assert_close(merge.contributions, torch.tensor([[0.1, 0.9]], dtype=torch.float64))
    assert merge.on_map(merge.contributions[:, 1]).tolist() == [[pytest.approx(0.9)]]
    narrow = Merge(merge.pair, None, Recipe(method="gates", rank=1))  # rank 1 keeps the domain's direction alone
    torch.testing.assert_close(narrow.contributions, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    assert Merge(merge.pair, None, Recipe(method="ties")).contributions is None


def test_a_cells_chain_names_its_own_numbers_and_no_ratio_where_none_gives_the_share():
    said = report.chain_sentence((0.01, 0.03), 1.0, (0.75, 0.75), (0.5, 1.0), 0.9)
    assert "a ratio of 3, where 1 counts as even. So the gate is 0.75." in said
    assert "weight 0.50 for task and 1.00 for domain" in said and "90.0% is the domain's" in said
    assert "So the gate is 0.75; a hand set 0.20." in report.chain_sentence(
        (0.01, 0.03), 1.0, (0.75, 0.2), (1.0, 0.4), None
    )
    for responses in ((0.01, 0.03), None):  # tada's shares are a hand's
        said = report.chain_sentence(responses, None, (0.5, 0.5), (1.0, 1.0), 0.9)
        assert (
            "The share is 0.50, even until a hand sets it." in said and "ratio" not in said and "counts as" not in said
        )


# -- depth -----------------------------------------------------------------------------------------------------------


def depth(rho, inputs, layers, by_chance=0.001):
    flat = torch.full((3,), 0.5, dtype=torch.float64)
    return Depth(rho, Interval(*inputs), {}, (0.3, 0.5, 0.7), flat, flat, flat, by_chance, Interval(*layers))


def test_a_trend_must_hold_for_other_inputs_and_other_layers():
    sure = report.depth_sentence(depth(0.51, (0.50, 0.52), (0.2, 0.7)), True)
    assert (
        "rises with depth" in sure and "+0.50 to +0.52 over probe inputs, +0.20 to +0.70 over inputs and layers" in sure
    )
    for unsure in (depth(0.51, (0.50, 0.52), (-0.1, 0.8)), depth(0.51, (0.50, 0.52), (0.2, 0.7), by_chance=0.3)):
        assert "no clear trend" in report.depth_sentence(unsure, True) and unsure.direction == 0


def test_only_a_generic_probe_tells_whether_the_trend_is_the_domains():
    rises = depth(0.51, (0.45, 0.55), (0.2, 0.7))
    assert "asymmetry" not in report.depth_sentence(rises, True)
    generic = depth(0.50, (0.4, 0.6), (0.2, 0.7))
    assert "whatever is read" in report.depth_sentence(rises, True, generic=generic)
    assert "shows the paper's asymmetry" in report.depth_sentence(
        rises, True, generic=depth(0.2, (0.1, 0.3), (0.0, 0.4))
    )


def test_layers_are_redrawn_in_runs_and_rows_correlate_as_pairs_do():
    picks = resampled_blocks(7, 3, 50, torch.Generator().manual_seed(0))
    assert picks.shape == (50, 7) and int(picks.min()) == 0 and int(picks.max()) == 6
    assert bool((picks[:, 1] == picks[:, 0] + 1).all()) and bool((picks[:, 2] == picks[:, 0] + 2).all())
    draw = torch.Generator().manual_seed(1)
    x, y = torch.randint(0, 4, (2, 20, 9), generator=draw).double()
    y[torch.rand(20, 9, generator=draw) < 0.2] = torch.nan
    for one, row, other in zip(spearman_pairs(x, y), x, y, strict=True):
        want = spearman(row[~other.isnan()], other[~other.isnan()])
        assert (want is None and bool(one.isnan())) or float(one) == pytest.approx(want)


def test_the_generic_probe_ships_and_is_compared_on_the_command_line(pico, tmp_path, capsys):
    assert len(generic_inputs()) == 32
    words = ["probe", "--task", str(pico.task), "--domain", str(pico.domain), "--base", str(pico.base), "-n", "4"]
    assert cli.main([*words, "-o", str(tmp_path / "r.json")]) == 2 and "--generic" in capsys.readouterr().err
    assert cli.main([*words, "--generic", "-o", str(tmp_path / "r.json")]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--generic", "--inputs", str(pico.inputs), "-o", str(tmp_path / "s.json")]) == 0
    assert "A generic probe gives rho" in capsys.readouterr().out
