"""The straight line on every kind of decoder that the product names: probe, merge, evaluate, export, read back by PEFT."""

from functools import partial

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from pico import WORDS, pico_base, pico_items

from tada_studio import pipeline
from tada_studio.base_model.families import causal
from tada_studio.base_model.families.causal import pick_scorer, rows_of, score_plain, score_shared
from tada_studio.evaluation import batches, read_items
from tada_studio.evaluation.choice import score
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 128, "head_dim": 8,
}  # fmt: skip
FAMILIES = {
    "Qwen3": (SMALL, ["q_proj", "k_proj", "down_proj"]),
    "Mistral": (SMALL, ["q_proj", "o_proj", "gate_proj"]),
    "Gemma": (SMALL, ["q_proj", "v_proj", "down_proj"]),
    "Gemma2": (SMALL, ["q_proj", "v_proj", "down_proj"]),
    "GPT2": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}, ["c_attn", "c_proj"]),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """(base folder, task folder, domain folder) of a random little model of one architecture."""
    folder, (settings, targets) = tmp_path_factory.mktemp(request.param), FAMILIES[request.param]
    words = transformers.AutoTokenizer.from_pretrained(pico_base(folder / "words", layers=1))
    words.save_pretrained(folder / "base")
    config = getattr(transformers, f"{request.param}Config")(
        vocab_size=len(words), bos_token_id=1, eos_token_id=2, pad_token_id=3, **settings
    )
    torch.manual_seed(0)
    getattr(transformers, f"{request.param}{'LMHeadModel' if request.param == 'GPT2' else 'ForCausalLM'}")(
        config
    ).save_pretrained(folder / "base")
    for seed, role in enumerate(("task", "domain")):
        torch.manual_seed(seed)
        base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
        lora = LoraConfig(
            r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", fan_in_fan_out=request.param == "GPT2"
        )
        model = get_peft_model(base, lora)
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder / role)
    return folder


def test_the_straight_line_runs_and_peft_reads_it_back(family, tmp_path):
    pair, base = (
        pipeline.read_pair(family / "task", family / "domain"),
        pipeline.load_base(family / "base", device="cpu"),
    )
    lines = [" ".join(WORDS[i : i + 6]) for i in range(8)]
    merged = merge(pair, pipeline.probe(pair, base, lines), Recipe())
    items = read_items(pico_items(tmp_path / "items.jsonl", 8))
    scores = pipeline.evaluate(base, {"base": None, "task": pair.task, "tada": merged}, items)
    assert not torch.equal(scores["base"].loglik, scores["tada"].loglik)
    certificate = pipeline.export(merged, tmp_path / "out", base=base)
    assert certificate.holds and certificate.logit_error < 1e-4


def test_the_shared_prefix_works_on_it(family, tmp_path):
    base = pipeline.load_base(family / "base", device="cpu")
    items = read_items(pico_items(tmp_path / "items.jsonl", 3))
    items = [type(item)(item.question, tuple(f"{c} rock" for c in item.choices), item.answer) for item in items]
    assert pick_scorer(base.model, base.tokenizer, rows_of(base.tokenizer, items)) is score_shared


def test_it_goes_on_from_a_beginning_that_it_has_read_once(family, tmp_path, monkeypatch):
    base = pipeline.load_base(family / "base", device="cpu")
    plain = read_items(pico_items(tmp_path / "items.jsonl", 6))
    shots = " ".join(WORDS[:20] * 2)
    items = [type(item)(f"{shots} {item.question}", item.choices, item.answer) for item in plain]
    alone = score(base.model, base.tokenizer, items, way=partial(causal.score, scorer=score_plain)).loglik
    monkeypatch.setitem(batches.ROOM, "cpu", 24)
    torch.testing.assert_close(score(base.model, base.tokenizer, items).loglik, alone, rtol=0, atol=1e-4)
    assert causal._GOES_ON[base.model]
