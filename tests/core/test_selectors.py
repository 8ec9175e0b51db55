"""Selector lines: what each form of the grammar selects and does, and what is said about lines that cannot be read."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.core.selectors import Cells, apply_lines, check, selected
from tada_studio.errors import RecipeError

LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def cells(layers=6, projections=LLAMA, value=0.5):
    return Cells(tuple(range(layers)), projections, torch.full((layers, len(projections)), value, dtype=torch.float64))


def chosen(line, layers=6, projections=LLAMA):
    """(layers, projections) that a line selects; the selection is always their product."""
    mask = selected(cells(layers, projections), line)
    rows, columns = mask.any(1), mask.any(0)
    assert torch.equal(mask, rows[:, None] & columns[None, :])
    return rows.nonzero().flatten().tolist(), [projections[j] for j in columns.nonzero().flatten().tolist()]


ALL, EVERY = list(range(6)), list(LLAMA)
ATTN, MLP = EVERY[:4], EVERY[4:]


@pytest.mark.parametrize(
    ("line", "layers", "projections"),
    [
        ("* : 0", ALL, EVERY),
        ("* : * : 0", ALL, EVERY),
        ("layer 3 : * : 0", [3], EVERY),
        ("layer 3 : 0", [3], EVERY),
        ("layers 2-4 : attn : 0.7", [2, 3, 4], ATTN),
        ("layers 0-1,5 : mlp : 0.7", [0, 1, 5], MLP),
        ("Layers 0 - 1 , 4 : MLP : 0.7", [0, 1, 4], MLP),
        ("layers 4-99 : 0", [4, 5], EVERY),
        ("shallow third : 0", [0, 1], EVERY),
        ("shallowest third : q : 0", [0, 1], ["q_proj"]),
        ("middle third : 0", [2, 3], EVERY),
        ("deep third : 0", [4, 5], EVERY),
        ("deepest third : domain", [4, 5], EVERY),
        ("q,k : +0.1", ALL, ["q_proj", "k_proj"]),
        ("q_proj, mlp : 0", ALL, ["q_proj", *MLP]),
        ("layer 5 : v_proj : reset", [5], ["v_proj"]),
    ],
)
def test_each_form_of_the_grammar_selects(line, layers, projections):
    assert chosen(line) == (layers, projections)


def test_thirds_of_a_number_that_is_no_multiple_of_three_leave_no_layer_out():
    # seven layers: 3, 2, 2 as the depth profile divides them
    assert [chosen(f"{third} third : 0", 7)[0] for third in ("shallow", "middle", "deep")] == [
        [0, 1, 2],
        [3, 4],
        [5, 6],
    ]


@pytest.mark.parametrize(
    ("projections", "attention"),
    [
        (LLAMA, ("q_proj", "k_proj", "v_proj", "o_proj")),
        (("c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"), ("c_attn", "attn.c_proj")),
        (
            ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"),
            ("query", "key", "value", "attention.output.dense"),
        ),
        (("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"), ("q_lin", "k_lin", "v_lin", "out_lin")),
        (("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"), ("q_proj", "k_proj", "v_proj", "out_proj")),
    ],
)
def test_attn_and_mlp_part_the_projections_of_every_family_of_models(projections, attention):
    assert chosen("attn : 0", 2, projections)[1] == list(attention)
    assert chosen("mlp : 0", 2, projections)[1] == [p for p in projections if p not in attention]


def test_layers_are_called_by_their_numbers_also_when_the_first_are_missing():
    table = Cells((4, 7, 9), ("q_proj",), torch.zeros(3, 1, dtype=torch.float64))
    assert selected(table, "layers 7-8 : 1").flatten().tolist() == [False, True, False]
    assert selected(table, "deep third : 1").flatten().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("what", "value"),
    [("0.7", 0.7), ("1", 1.0), ("0", 0.0), ("task", 0.0), ("domain", 1.0), ("even", 0.5), ("Domain", 1.0),
     ("+0.1", 0.4), ("-0.1", 0.2),  ("+0.9", 1.0), ("-0.9", 0.0), ("+1e300", 1.0)],
)  # fmt: skip
def test_what_a_line_does_to_a_gate_of_three_tenths(what, value):
    after = apply_lines(cells(value=0.3), [f"layer 1 : q : {what}"])
    assert float(after.values[1, 0]) == pytest.approx(value)
    assert int(after.edited.sum()) == 1 and bool(after.edited[1, 0]) and not after.locked.any()
    assert int((after.values != 0.3).sum()) == 1


def test_lines_apply_in_order():
    assert float(apply_lines(cells(), ["* : 0.9", "* : +0.5", "* : -0.3"]).values[0, 0]) == pytest.approx(0.7)
    assert float(apply_lines(cells(), ["* : -0.3", "* : 0.9"]).values[0, 0]) == pytest.approx(0.9)


def test_smoothing_is_the_mean_with_the_neighbours_in_depth_that_are_there():
    table = cells(4, ("q_proj", "v_proj"))
    table.values[:] = torch.tensor([[0.1, 0.2], [0.4, torch.nan], [1.0, 0.6], [0.0, 0.8]])
    after = apply_lines(table, ["layers 0-2 : smooth"])
    # q: (.1 + .4) / 2, (.1 + .4 + 1) / 3, (.4 + 1 + 0) / 3, as it was; v: alone, none, (.6 + .8) / 2, as it was
    assert after.values[:, 0].tolist() == pytest.approx([0.25, 0.5, 1.4 / 3, 0.0])
    assert after.values[:, 1].tolist() == pytest.approx([0.2, math.nan, 0.7, 0.8], nan_ok=True)


def test_checked_lines_build_on_those_before_them_that_can_be_read():
    locked, wrong, rest = check(cells(2), ["layer 0 : lock", " ", "layer 7 : 1", "* : 1"])
    assert int(locked.touched.sum()) == 7 and locked.held == 0
    assert wrong.touched is None and "layer 7" in wrong.problem
    assert (int(rest.touched.sum()), rest.held) == (7, 7)


def test_reset_gives_the_computed_value_back():
    after = apply_lines(cells(value=0.3), ["* : 0.9", "layer 2 : reset"])
    assert after.values[2].tolist() == [0.3] * 7 and not after.edited[2].any()
    assert after.values[1].tolist() == [0.9] * 7 and after.edited[1].all()


def test_locked_cells_stay_as_they_are_until_unlocked():
    after = apply_lines(
        cells(), ["layer 0 : 0.2", "layers 0-1 : lock", "* : 0.9", "* : reset", "layer 1 : unlock", "layers 0-1 : 0.8"]
    )
    assert [round(float(v), 9) for v in after.values[:3, 0]] == [0.2, 0.8, 0.5]
    assert after.locked[:3, 0].tolist() == [True, False, False]
    assert after.edited[:3, 0].tolist() == [True, True, False]


def test_the_values_that_were_given_are_not_changed():
    values = torch.full((2, 1), 0.5, dtype=torch.float64)
    after = apply_lines(Cells((0, 1), ("q_proj",), values), ["* : 1"])
    assert values.tolist() == [[0.5], [0.5]] and after.computed.tolist() == [[0.5], [0.5]]


def test_cells_that_do_not_exist_are_never_selected():
    table = Cells((0, 1), ("q_proj", "v_proj"), torch.tensor([[0.5, torch.nan], [0.5, 0.5]], dtype=torch.float64))
    after = apply_lines(table, ["* : 0.2", "* : lock"])
    assert after.values.isnan().tolist() == [[False, True], [False, False]]
    assert not after.locked[0, 1] and not after.edited[0, 1]
    with pytest.raises(
        RecipeError, match=r"'layer 0 : v : 1': selects no cell. Layers go from 0 to 1; projections are q_proj, v_proj"
    ):
        apply_lines(table, ["layer 0 : v : 1"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "expected two or three parts"),
        ("0.7", "expected two or three parts"),
        ("a : b : c : d", "expected two or three parts"),
        ("layer 1 : : 0.7", "expected two or three parts"),
        ("* :", "expected two or three parts"),
        ("layer x : * : 0.7", "'layer x' names no layers"),
        ("third : * : 0.7", "'third' names no layers"),
        ("first third : 0.7", "'first third' names no layers"),
        ("layers 1- : 0.7", "'layers 1-' names no layers"),
        ("layer 9 : 0.7", "selects no cell. Layers go from 0 to 5"),
        ("x_proj : 0.7", "'x_proj' names no projection of this base"),
        ("q,x : 0.7", "'q,x' names no projection of this base"),
        ("* : much", "'much' says nothing to do"),
        ("* : 0,5", "'0,5' says nothing to do"),
        ("* : 1.5", "the gate 1.5 is outside 0 to 1"),
        ("* : nan", "the gate nan is outside 0 to 1"),
        ("* : +nan", "the gate .nan is outside 0 to 1"),
        ("* : -inf", "the gate -inf is outside 0 to 1"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_with_the_line_and_the_reason(line, says):
    with pytest.raises(RecipeError, match=says) as error:
        apply_lines(cells(), [line])
    assert f"'{line}'" in str(error.value)


@given(
    st.text(max_size=20)
    | st.from_regex(
        r"(layers? [0-9]{1,2}(-[0-9])?|\*|(deep|middle) third) ?: ?(attn|q|\*)( ?: ?[+-]?[0-9.]{1,3})?", fullmatch=True
    )
)
def test_any_text_is_either_refused_or_leaves_gates_between_zero_and_one(line):
    try:
        after = apply_lines(cells(value=0.3), [line])
    except RecipeError:
        return
    assert ((after.values >= 0) & (after.values <= 1)).all()
