"""Other people's tables of questions, from disk or the Hub, as the items file that tada_studio reads.

A settings file gives a path that tada_studio reads as it is (.jsonl, a folder of images by label), or a mapping:

    hub: allenai/sciq                    # or no hub, and ``file`` beside the settings file
    file: data/test-00000-of-00001.parquet
    question: question                   # name of a column, or a template such as "{support} {question}"
    choices: [correct_answer, distractor1, distractor2, distractor3]     # columns; or one column with a list of texts
    answer: 0                            # index of the right choice; or a column with an index, a label or the text itself
"""

import csv
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tada_studio as tada

#: How a question is put before a model; what the paper put there is not known to us.
PROMPT = "Question: {question}\nAnswer:"


def items_file(where: str | Mapping[str, Any], home: Path) -> Path:
    """The file or folder to read items (or probe inputs, which need no choices) from. Raises tada.InputError."""
    if isinstance(where, str):
        path = Path(where).expanduser()
        return path if path.is_absolute() else home / path
    rows = _rows(_table(where, home))
    made = [_item(row, where, i) for i, row in enumerate(rows, 1)]
    target = Path(tempfile.mkdtemp(prefix="tada-paper-")) / "items.jsonl"
    target.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in made), encoding="utf-8")
    return target


def _table(where: Mapping[str, Any], home: Path) -> Path:
    if "hub" not in where:
        return home / Path(str(where["file"])).expanduser()
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(where["hub"], where["file"], repo_type="dataset", revision=where.get("revision")))
    except Exception as error:  # the Hub's client raises anything from OSError to its own errors
        raise tada.InputError(
            f"{where['hub']}: {where['file']} could not be fetched ({str(error).splitlines()[0]}). Check the name, or download "
            "it and give the file alone."
        ) from error


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix == ".parquet":
            import pandas

            return pandas.read_parquet(path).to_dict("records")
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            return list(csv.DictReader(text.splitlines()))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ImportError as error:
        raise tada.InputError(f"{path.name}: reading .parquet needs pyarrow; pip install pyarrow.") from error
    except (OSError, ValueError) as error:
        raise tada.InputError(f"{path}: cannot be read ({error}). Give .jsonl, .csv or .parquet.") from error


def _item(row: Mapping[str, Any], where: Mapping[str, Any], number: int) -> dict[str, Any]:
    try:
        asked = where["question"]
        question = asked.format(**row) if "{" in asked else str(row[asked])
        if "choices" not in where:
            return {"question": question}
        choices, labels = _choices(row, where["choices"])
        answer = where["answer"] if isinstance(where["answer"], int) else row[where["answer"]]
        return {
            "question": PROMPT.format(question=question),
            "choices": choices,
            "answer": _index(answer, choices, labels),
        }
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise tada.InputError(f"row {number}: does not have what the settings name ({error!r}).") from error


def _choices(row: Mapping[str, Any], named: str | list[str]) -> tuple[list[str], list[str]]:
    """(texts, labels) of a row: several columns, a column with a list, or one with {"text": [...], "label": [...]}."""
    if isinstance(named, list):
        return [str(row[name]) for name in named], list(named)
    held = row[named]
    if isinstance(held, Mapping):
        return [str(text) for text in held["text"]], [str(label) for label in held["label"]]
    return [str(text) for text in held], [chr(ord("A") + i) for i in range(len(held))]


def _index(answer: Any, choices: list[str], labels: list[str]) -> int:
    if isinstance(answer, str):
        if answer in labels:
            return labels.index(answer)
        return choices.index(answer) if answer in choices else int(answer)
    return int(answer)
