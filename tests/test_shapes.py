"""Items in the shapes that others publish them in: what their rows become, by hand, and why a row is refused."""

import csv
import json

import pytest

from tada_studio.errors import InputError
from tada_studio.evaluation.answers import ShortItem
from tada_studio.evaluation.choice import Item
from tada_studio.evaluation.items import read_items, read_table
from tada_studio.evaluation.shapes import Columns, index_of

FOUR = ("iron", "gold", "salt", "chalk")
#: Rows as they are published, by the data set that publishes them so.
ROCK = Item("Which rusts?", FOUR, 0)
PUBLISHED = {
    "ARC": ({"id": "x", "question": "Which rusts?", "choices": {"text": list(FOUR), "label": list("ABCD")},
             "answerKey": "A"}, ROCK),
    "ARC with numbers": (
        {"question": "Which rusts?", "choices": {"text": list(FOUR), "label": list("1234")}, "answerKey": "2"},
        Item("Which rusts?", FOUR, 1),
    ),
    "OpenBookQA": ({"question_stem": "Which rusts?", "choices": {"text": list(FOUR), "label": list("ABCD")},
                    "answerKey": "A"}, ROCK),
    "OpenBookQA of its authors": (
        {"question": {"stem": "Which rusts?", "choices": [{"text": t, "label": c} for t, c in zip(FOUR, "ABCD", strict=True)]},
         "answerKey": "A"},
        ROCK,
    ),
    "MMLU": ({"question": "Which rusts?", "subject": "rocks", "choices": list(FOUR), "answer": 0}, ROCK),
    "MMLU with a letter": ({"question": "Which rusts?", "choices": list(FOUR), "answer": "A"}, ROCK),
    "SciQ": (
        {"question": "Which rusts?", "distractor1": "gold", "distractor2": "salt", "distractor3": "chalk", "correct_answer": "iron",
         "support": ""},
        Item("Which rusts?", ("chalk", "gold", "iron", "salt"), 2),
    ),
    "PubMedQA": (
        {"question": "Does it?", "context": {"contexts": ["It was tried."]}, "long_answer": "So.", "final_decision": "maybe"},
        Item("It was tried.\nDoes it?", ("yes", "no", "maybe"), 2),
    ),
    "MedMCQA": ({"question": "Which rusts?", "opa": "iron", "opb": "gold", "opc": "salt", "opd": "chalk", "cop": 0}, ROCK),
    "question and answer": ({"question": "What rusts?", "answer": "iron"}, ShortItem("What rusts?", ("iron",))),
    "instruction and output": ({"instruction": "What rusts?", "output": "iron"}, ShortItem("What rusts?", ("iron",))),
}  # fmt: skip


@pytest.mark.parametrize(("row", "item"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_published_row_becomes_an_item(tmp_path, row, item):
    file = tmp_path / "items.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert read_items(file) == [item]


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_tables_are_read_with_a_list_in_a_cell_or_a_column_for_each_choice(tmp_path, ending, delimiter):
    def written(*rows):
        with (tmp_path / f"t.{ending}").open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows(rows)
        return read_items(tmp_path / f"t.{ending}")

    assert written(["question", "A", "B", "C", "D", "answer"], ["Which rusts?", *FOUR, "A"]) == [ROCK]
    assert written(["prompt", "choices", "answer"], ["Which rusts?", json.dumps(FOUR), "iron"]) == [ROCK]
    assert written(["question", "choices", "answer"], ["Which rusts?", "iron | gold | salt | chalk", "0"]) == [ROCK]
    assert written(["Which rusts?", *FOUR, "A"], ["Which shines?", *FOUR, "B"])[1].answer == 1, "MMLU, without names"
    assert written(["question", "answer"], ["What\nrusts?", "iron"]) == [ShortItem("What\nrusts?", ("iron",))]
    assert written(["text", "label"], ["it rusts", "bad"])[0].label == "bad"


def test_parquet_is_read_where_pyarrow_is_there(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [row for row, _ in (PUBLISHED["ARC"], PUBLISHED["ARC"])]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "arc.parquet")
    assert read_items(tmp_path / "arc.parquet") == [ROCK, ROCK]
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_items(tmp_path / "bad.parquet")


def test_without_pyarrow_parquet_names_what_would_work(tmp_path, monkeypatch):
    monkeypatch.setattr("tada_studio.evaluation.tables.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pyarrow"):
        read_items(tmp_path / "x.parquet")


def test_rows_that_are_no_items_are_named_with_their_reason_and_the_others_stay(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("question,A,B,answer\nWhich?,x,y,B\n,x,y,A\nWhich?,x,y,Z\nWhich?,x,x,A\n")
    found = read_table(file)
    assert found.items == [Item("Which?", ("x", "y"), 1)] and found.shape == "a column for each choice"
    assert [(one.where, one.why) for one in found.refused] == [
        ("line 3", "question is empty or no text."),
        ("line 4", "answer = 'Z' names none of the 2 choices by letter, number or text."),
        ("line 5", "needs a question and at least two different, non-empty choices."),
    ]
    assert found.columns == ("question", "A", "B", "answer") and found.rows[0]["A"] == "x"
    with pytest.raises(InputError, match=r"t\.csv, line 3: question is empty"):
        read_items(file)


def test_columns_are_mapped_by_hand(tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("frage,r1,r2,loesung\nWas rostet?,Eisen,Gold,Eisen\n")
    with pytest.raises(InputError, match="expected"):
        read_items(file)
    assert read_items(file, Columns("frage", "loesung", ("r1", "r2"))) == [Item("Was rostet?", ("Eisen", "Gold"), 0)]
    assert read_items(file, Columns("frage", "loesung")) == [ShortItem("Was rostet?", ("Eisen",))]


def test_an_answer_is_found_by_label_text_letter_or_number():
    assert (
        index_of("B", ("x", "y"))
        == index_of("(b)", ("x", "y"))
        == index_of("y", ("x", "y"))
        == index_of(1, ("x", "y"))
        == 1
    )
    assert index_of("1", ("x", "y"), ("1", "2")) == 0, "a label goes before a number from 0"
    for nothing in ("C", 2, -1, True, None, ""):
        with pytest.raises(InputError, match="names none"):
            index_of(nothing, ("x", "y"))


@pytest.mark.parametrize("start", ["choice", "option_", ""])
def test_a_table_may_have_more_columns_of_choices_than_four(tmp_path, start):
    """Read as four, eight choices would be scored as an easier question."""
    ends = "ABCDEFGH" if not start else "12345678"
    file, texts = tmp_path / "wide.csv", [f"text {i}" for i in range(8)]
    rows = [
        ["question", *(f"{start}{end}" for end in ends), "answer"],
        ["Which?", *texts, "G"],
        ["And?", *texts[:3], *[""] * 5, "C"],
    ]
    file.write_text("\n".join(",".join(row) for row in rows))
    assert read_items(file) == [Item("Which?", tuple(texts), 6), Item("And?", tuple(texts[:3]), 2)]
