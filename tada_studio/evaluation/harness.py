"""lm-evaluation-harness (the extra ``lm-eval``): any of its tasks, or a task file, on the base with the adapter attached.

The model is handed over as an object, so nothing is looked up; a task of the harness's own may fetch its data set, a file with
data beside it fetches nothing. Where a task says of each item whether it was right, its result is a Score like any other.
"""

import copy
import importlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tada_studio.base_model.family import LONGEST
from tada_studio.base_model.model import Base
from tada_studio.errors import InputError, TadaError
from tada_studio.evaluation.choice import Item
from tada_studio.evaluation.scores import Score, interval
from tada_studio.files import path_of
from tada_studio.progress import Progress, ProgressFn, silent

#: Rows in a batch of the harness.
BATCH_ROWS = 8
#: Metrics of single items that say right or wrong, the first that a task has counts.
RIGHT = ("acc", "exact_match", "em", "mcc", "acc_norm")


@dataclass(frozen=True, eq=False)
class TaskResult:
    """What one variant made of one task of the harness.

    metrics: as the harness names them; score: of the single items, None where the task does not say which were right
    """

    task: str
    metrics: Mapping[str, float]
    score: Score | None


def as_task(items: Sequence[Item], name: str = "items") -> dict[str, Any]:
    """Multiple-choice items as a task of the harness, with the rows inside: nothing is written anywhere."""
    rows = [{"question": i.question, "choices": list(i.choices), "answer": i.answer} for i in items]
    return {
        "task": name,
        "custom_dataset": lambda **_: _splits({"test": rows}),
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": " ",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")
        ],
    }


def read_task(task: str) -> str | dict[str, Any]:
    """A task by its name, or a .yaml file of one with its data beside it; never code that a file names. Raises InputError."""
    path = path_of(task)
    if path.suffix.lower() not in (".yaml", ".yml"):
        return task
    yaml = _needed("yaml")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")[:200]
        raise InputError(
            f"{path}: cannot be read as a task file ({reason}). Give plain YAML; a file that runs functions of its own is refused."
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("task"), str):
        raise InputError(f"{path}: is no task: it needs at least 'task: a_name'.")
    return _with_data(found, path)


def _with_data(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """A task whose data are .jsonl files beside it, with the rows inside: the harness would copy them into a hidden cache."""
    how = found.get("dataset_kwargs")
    files = how.get("data_files") if isinstance(how, dict) else None
    if found.get("dataset_path") != "json" or not isinstance(files, dict):
        return found
    rows = {split: _rows(path.parent / str(file)) for split, file in files.items()}
    kept = {key: value for key, value in found.items() if key not in ("dataset_path", "dataset_kwargs")}
    return {**kept, "custom_dataset": lambda **_: _splits(rows)}


def _rows(path: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as .jsonl ({error}). Give one object a line.") from error


def _splits(rows: Mapping[str, list[Any]]) -> dict[str, Any]:
    dataset = _needed("datasets").Dataset
    return {split: dataset.from_list(some) for split, some in rows.items()}


def run(
    base: Base, task: str | dict[str, Any], limit: int | None = None, name: str = "", progress: ProgressFn = silent
) -> TaskResult:
    """One task on the base with the adapter attached; ``limit`` takes the first items, as the harness does. Raises InputError."""
    if not base.family.continues:
        raise InputError(
            f"The base {base.name} does not write text; tasks of lm-evaluation-harness need one that does."
        )
    with _quiet(), _harness_progress(progress, name), _left_alone(base.model):
        return _result(_evaluate(base, task, limit), name)


def _evaluate(base: Base, task: str | dict[str, Any], limit: int | None) -> dict[str, Any]:
    lm_eval, tasks = _needed("lm_eval"), _needed("lm_eval.tasks")
    model = _needed("lm_eval.models.huggingface").HFLM(
        pretrained=base.model, tokenizer=copy.deepcopy(base.tokenizer), backend="causal", batch_size=BATCH_ROWS,
        max_length=min(LONGEST, getattr(base.model.config, "max_position_embeddings", LONGEST)), softmax_dtype="float32",
    )  # fmt: skip
    manager = tasks.TaskManager(include_defaults=isinstance(task, str))
    seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed"))
    try:
        return lm_eval.simple_evaluate(
            model=model, tasks=[task], task_manager=manager, limit=limit, bootstrap_iters=0, log_samples=True, **seeds
        )
    except (TadaError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a task is a program of somebody else's: anything can go wrong in it
        called = task if isinstance(task, str) else task["task"]
        raise InputError(
            f"{called}: lm-evaluation-harness could not run it ({type(error).__name__}: {str(error)[:200]}). Give one of its task "
            "names (its data come from the Hub), or a .yaml task file with .jsonl data beside it."
        ) from error


def _result(found: Mapping[str, Any], name: str) -> TaskResult:
    tasks = [task for task in found["results"] if task in found.get("samples", {})]
    if len(tasks) != 1:
        raise InputError(f"{', '.join(found['results'])}: is a group of {len(tasks)} tasks. Give them one by one.")
    task = tasks[0]
    numbers = {
        key.partition(",")[0]: float(value)
        for key, value in found["results"][task].items()
        if isinstance(value, (int, float)) and "stderr" not in key and key != "alias"
    }
    samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
    return TaskResult(task, numbers, _score(samples, name))


def _score(samples: Sequence[Mapping[str, Any]], name: str) -> Score | None:
    metric = next((one for one in RIGHT if samples and _binary([sample.get(one) for sample in samples])), None)
    if metric is None:
        return None
    correct = torch.tensor([bool(sample[metric]) for sample in samples])
    normed = [sample.get("acc_norm") for sample in samples]
    loglik = _logliks(samples) if metric == "acc" else None
    gold = _gold(loglik, samples) if loglik is not None else None
    return Score(
        name, loglik, correct, None if gold is None else float(gold.mean()), *interval(correct), gold=gold,
        normed=torch.tensor([bool(one) for one in normed]) if _binary(normed) else None,
        note=f"Scored by lm-evaluation-harness ({metric}).", kind="choice" if loglik is not None else "answer",
    )  # fmt: skip


def _binary(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (int, float)) and value in (0, 1) for value in values)


def _logliks(samples: Sequence[Mapping[str, Any]]) -> torch.Tensor | None:
    """(n, most choices) of a multiple-choice task; None for others."""
    found = [[pair[0] for pair in sample["filtered_resps"] if isinstance(pair, (list, tuple))] for sample in samples]
    if not all(len(row) > 1 for row in found):
        return None
    wide = torch.full((len(found), max(map(len, found))), -torch.inf)
    for i, row in enumerate(found):
        wide[i, : len(row)] = torch.tensor([float(value) for value in row])
    return wide


def _gold(loglik: torch.Tensor, samples: Sequence[Mapping[str, Any]]) -> torch.Tensor | None:
    targets = [sample["target"] for sample in samples]
    if not all(str(target).isdecimal() and int(target) < loglik.shape[1] for target in targets):
        return None
    rows = torch.arange(len(samples))
    return -loglik.double().log_softmax(1)[rows, torch.tensor([int(target) for target in targets])]


# -- a guest in the house --------------------------------------------------------------------------------------------


def _needed(module: str) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            "lm-evaluation-harness is not installed. pip install 'tada-studio[lm-eval]' brings it (about 0.5 GB)."
        ) from error


@contextmanager
def _left_alone(model: Any) -> Iterator[None]:
    """The harness ties a model's weights anew when it takes it, which would undo a head that is attached."""
    model.tie_weights = lambda *_, **__: None
    try:
        yield
    finally:
        del model.tie_weights


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _harness_progress(progress: ProgressFn, name: str) -> Iterator[None]:
    """The harness's own progress bars as ours, for the block: whoever asked may then stop it."""
    module = _needed("lm_eval.models.huggingface")
    usual = module.tqdm

    class Bar(usual):  # type: ignore[misc,valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self.whole, self.past = options.get("total") or (len(args[0]) if args else 0), 0

        def update(self, n: Any = 1) -> bool | None:
            self.past += int(n or 0)
            progress(Progress("evaluate", min(self.past, self.whole), self.whole, name))
            return super().update(n)

    module.tqdm = Bar
    try:
        yield
    finally:
        module.tqdm = usual
