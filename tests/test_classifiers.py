"""Encoders that classify text take the same way: probe, merge, answer by label, export with the head, read back by PEFT."""

import json

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from pico import WORDS, pico_base

from tada_studio import pipeline
from tada_studio.errors import InputError, MismatchError
from tada_studio.evaluation import read_items
from tada_studio.pipeline.merge import merge

TEXTS = [" ".join(WORDS[i : i + 5]) for i in range(8)]
NAMES = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
KINDS = {
    "Bert": (SMALL, ["query", "value"], ["classifier"]),
    "DistilBert": (DISTIL, ["q_lin", "v_lin"], ["pre_classifier", "classifier"]),
    "Roberta": (SMALL, ["query", "value"], ["classifier"]),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    """(folder of a base of two labels with a domain adapter and a task adapter of three, its architecture)"""
    settings, targets, heads = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    words = transformers.AutoTokenizer.from_pretrained(pico_base(folder / "words", layers=1))
    words.save_pretrained(folder / "base")
    config = getattr(transformers, f"{request.param}Config")(vocab_size=len(words), pad_token_id=3, **settings, **NAMES)
    torch.manual_seed(0)
    getattr(transformers, f"{request.param}ForSequenceClassification")(config).save_pretrained(folder / "base")
    for seed, role in enumerate(("domain", "task")):
        torch.manual_seed(seed)
        model = opened(folder, 3 if role == "task" else 2)
        model = get_peft_model(model, LoraConfig(r=2, target_modules=targets, modules_to_save=heads if seed else None))
        for name, parameter in model.named_parameters():
            if ".lora_B." in name or ".modules_to_save." in name:
                torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder / role)
    return folder


def opened(folder, labels):
    more = {"num_labels": labels, "ignore_mismatched_sizes": True} if labels != 2 else {}
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder / "base", **more)


def listed(path, labels):
    path.write_text(
        "".join(json.dumps({"text": t, "label": labels[i % len(labels)]}) + "\n" for i, t in enumerate(TEXTS))
    )
    return read_items(path)


def test_the_straight_line_on_texts_with_labels(kind, tmp_path):
    pair, base = pipeline.read_pair(kind / "task", kind / "domain"), pipeline.load_base(kind / "base", device="cpu")
    assert (base.kind, base.classifies, base.labels) == ("text", True, ("bad", "good"))
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    merged = merge(pair, pipeline.probe(pair, base, TEXTS))
    certificate = pipeline.export(merged, tmp_path / "out", base=base)
    assert certificate.holds and certificate.logit_error < 1e-5

    items = listed(tmp_path / "new.jsonl", ("x", "y", "z"))
    scores = pipeline.evaluate(base, {"base": None, "task": pair.task, "tada": merged}, items)
    theirs = PeftModel.from_pretrained(opened(kind, 3), tmp_path / "out").eval()
    with torch.inference_mode():
        rows = [theirs(input_ids=torch.tensor([base.tokenizer(text).input_ids])).logits[0] for text in TEXTS]
    torch.testing.assert_close(scores["tada"].loglik, torch.stack(rows).log_softmax(-1), rtol=0, atol=1e-5)
    assert "head of task (3 labels)" in scores["base"].note and "3 rows without names" in scores["tada"].note
    old = pipeline.evaluate(base, {"task": pair.task}, listed(tmp_path / "old.jsonl", ("bad", "good")))["task"]
    assert old.loglik.shape == (8, 2) and "head of base" in old.note
    after = base.model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


def test_a_classifier_is_asked_for_labels_and_writes_nothing(kind, pico, tmp_path):
    base = pipeline.load_base(kind / "base", device="cpu")
    with pytest.raises(InputError, match="give items with labels"):
        pipeline.evaluate(base, {"base": None}, read_items(pico.items))
    with pytest.raises(InputError, match="give items without labels"):
        pipeline.evaluate(
            pipeline.load_base(pico.base, device="cpu"), {"base": None}, listed(tmp_path / "i.jsonl", ("a", "b"))
        )


def test_an_update_of_a_layer_that_the_other_keeps_whole_is_refused(pico, tmp_path):
    """PEFT takes one or the other: the merge would lose that update without a word."""
    folder, words = tmp_path, transformers.AutoTokenizer.from_pretrained(pico.base)
    words.save_pretrained(folder / "base")
    config = transformers.RobertaConfig(vocab_size=len(words), pad_token_id=3, **SMALL)
    transformers.RobertaForSequenceClassification(config).save_pretrained(folder / "base")
    for role, heads in (("task", ["classifier"]), ("domain", None)):
        settings = LoraConfig(r=2, target_modules=["query", "dense"], modules_to_save=heads)
        get_peft_model(opened(folder, 2), settings).save_pretrained(folder / role)
    with pytest.raises(
        MismatchError, match=r"classifier\.dense: the domain adapter updates this layer.*exclude_modules"
    ):
        pipeline.read_pair(folder / "task", folder / "domain")
