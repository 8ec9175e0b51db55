"""Recipes: every knob refuses what is out of its range, in words; files round trip."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tada_studio.errors import RecipeError
from tada_studio.recipe import FORMAT, FORMAT_1, Recipe, changes, knobs, read_log, recipe_in

NUMBERS = {name: spec.metadata for name, spec in knobs().items() if "low" in spec.metadata}
WORDS = {name: spec.metadata["options"] for name, spec in knobs().items() if "options" in spec.metadata}
LINES = [name for name, spec in knobs().items() if "lines" in spec.metadata]


def test_every_knob_says_what_it_does_and_has_a_range_words_or_lines():
    assert set(NUMBERS) | set(WORDS) | set(LINES) == set(knobs())
    assert all(spec.metadata["says"] for spec in knobs().values())


def test_the_defaults_are_those_of_the_method():
    recipe = Recipe()
    assert (recipe.method, recipe.rank, recipe.sharpness, recipe.strength, recipe.balance) == (
        "tada",
        None,
        1.0,
        1.0,
        0.0,
    )
    assert (recipe.calibration, recipe.response, recipe.drop, recipe.conflict_space) == (
        "projection",
        "mean",
        "weaker",
        "weight",
    )
    assert (recipe.conflict_threshold, recipe.conflict_floor, recipe.dtype, recipe.seed) == (16.0, 0.0, "auto", 0)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_is_refused_with_knob_value_and_range(name):
    low, high = NUMBERS[name]["low"], NUMBERS[name]["high"]
    wrong = [math.nan, math.inf, -math.inf, low - 1, high + 1, 10**400, True, False, "much", [1], {}]
    wrong += [low + 0.5] if NUMBERS[name]["step"] == 1 else []
    wrong += [None] if knobs()[name].default is not None else []
    for value in wrong:
        with pytest.raises(RecipeError) as error:
            Recipe(**{name: value})
        assert str(error.value).startswith(f"{name} = {value!r}: ")
        assert f"{low:g} to {high:g}." in str(error.value)
        assert ("whole number" in str(error.value)) == (NUMBERS[name]["step"] == 1)


def test_rank_zero_is_refused_and_no_rank_means_the_larger_of_the_two():
    with pytest.raises(RecipeError, match=r"rank = 0: .* give a whole number from 1 to 1024"):
        Recipe(rank=0)
    assert Recipe(rank=None).rank is None


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_a_range_are_in_it_and_numbers_get_one_type(name):
    kind = int if NUMBERS[name]["step"] == 1 else float
    for end in (NUMBERS[name]["low"], NUMBERS[name]["high"]):
        assert getattr(Recipe(**{name: end}), name) == end
        whole = math.ceil(end)  # a range may begin above 0
        assert (
            type(getattr(Recipe(**{name: whole}), name)) is type(getattr(Recipe(**{name: float(whole)}), name)) is kind
        )


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("value", ["", "TADA", "weight ", None, True, 1, math.nan, ["tada"]])
def test_a_word_that_is_no_option_is_refused_with_the_options(name, value):
    with pytest.raises(RecipeError) as error:
        Recipe(**{name: value})
    assert str(error.value).startswith(f"{name} = {value!r}: ") and ", ".join(WORDS[name]) in str(error.value)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("value", ["* : 0", None, 5, {"* : 0": 1}, ["* : 0", 1], [None], True])
def test_what_is_no_list_of_lines_is_refused(name, value):
    with pytest.raises(RecipeError, match=f"{name} = .*must be a list of lines of text"):
        Recipe(**{name: value})


def test_lines_are_kept_in_order_and_cannot_be_changed():
    assert Recipe(overrides=["* : 1", "* : 0"]).overrides == ("* : 1", "* : 0")


def test_equal_recipes_are_equal_however_they_were_written():
    assert Recipe(strength=1, rank=4.0, keep=["a"]) == Recipe(strength=1.0, rank=4, keep=("a",))
    assert hash(Recipe(strength=1)) == hash(Recipe(strength=1.0))


def test_turning_knobs_makes_another_recipe():
    recipe = Recipe(strength=1.5)
    other = recipe.but(sharpness=3, rank=8)
    assert other == Recipe(strength=1.5, sharpness=3, rank=8) and recipe == Recipe(strength=1.5)


@pytest.mark.parametrize("make", [Recipe.from_dict, lambda values: Recipe().but(**values)])
def test_a_knob_that_does_not_exist_is_refused_with_those_that_do(make):
    with pytest.raises(RecipeError, match=r"strenght, zest: no such knob\. There are: method, rank, "):
        make({"zest": 1, "strenght": 2})


#: Any recipe there is.
ANY = st.fixed_dictionaries(
    {
        **{name: st.sampled_from(options) for name, options in WORDS.items()},
        **{name: st.lists(st.text(max_size=8), max_size=3) for name in LINES},
        **{
            name: st.integers(about["low"], about["high"])
            if about["step"] == 1
            else st.floats(about["low"], about["high"])
            for name, about in NUMBERS.items()
        },
    }
)


@given(ANY)
def test_a_recipe_survives_json(values):
    recipe = Recipe(**values)
    plain = recipe.to_dict()
    assert list(plain) == list(knobs())
    assert Recipe.from_dict(json.loads(json.dumps(plain))) == recipe


def test_knobs_that_are_left_out_keep_their_defaults():
    assert Recipe.from_dict({"strength": 1}) == Recipe(strength=1)


def test_a_recipe_file_is_read(tmp_path):
    recipe = Recipe(strength=1.25, overrides=("layers 0-1 : attn : 0.2",), rank=3)
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"format": FORMAT, "recipe": recipe.to_dict(), "and": "more"}), encoding="utf-8")
    assert Recipe.load(path) == Recipe.load(str(path)) == recipe


@pytest.mark.parametrize("content", ["", "not json", "[]", "5", "null", "{}", '{"recipe"', "\udcff", "[" * 100_000])
def test_a_file_that_is_no_recipe_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "recipe.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RecipeError, match=r"is not a recipe.*Give a recipe\.json that TaDA Studio wrote") as error:
        Recipe.load(path)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(RecipeError, match="is not a recipe that could be read"):
            Recipe.load(path)


@pytest.mark.parametrize(
    ("found", "says"),
    [([], "recipe: Input should be a valid dict"), (None, "recipe: Input should be a valid dict"),
      ({"rank": 0}, "rank = 0"),
     ({"zest": 1}, "zest: no such knob"), ({"keep": None}, "keep = None")],
)  # fmt: skip
def test_a_recipe_file_with_wrong_knobs_is_refused(tmp_path, found, says):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe": found}), encoding="utf-8")
    with pytest.raises(RecipeError, match=says):
        Recipe.load(path)


def test_what_was_done_between_two_recipes_is_one_line():
    before = Recipe(overrides=("* : 0", "layer 3 : q : 0.7"))
    after = before.but(strength=1.5, rank=8, overrides=("* : 0", "* : 0", "layer 3 : q : 0.2"))
    assert set(changes(before, after).split("; ")) == {
        "strength 1 to 1.5", "rank automatic to 8", "+ * : 0, + layer 3 : q : 0.2, - layer 3 : q : 0.7",
    }  # fmt: skip
    assert changes(before, before) == ""
    assert changes(before, before.but(overrides=before.overrides[::-1])) == "the same lines in another order"


def test_a_log_is_read_as_far_as_it_can_be():
    assert read_log({"log": ["rank automatic to 8", 3]}) == ("rank automatic to 8",)
    assert read_log({"log": "x"}) == read_log({}) == ()


def test_a_recipe_of_version_one_that_does_not_say_keeps_the_threshold_of_its_day():
    old = {"format": FORMAT_1, "recipe": {"method": "tada"}}
    assert recipe_in(old).conflict_threshold == 8.0 != Recipe().conflict_threshold
    assert recipe_in({**old, "recipe": {"conflict_threshold": 3.0}}).conflict_threshold == 3.0
