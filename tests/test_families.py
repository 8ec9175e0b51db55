"""Every family of bases takes the straight line: probe, map by tower, evaluate, export; its numbers against transformers' own."""

import json

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from pico import WORDS, pico_base, pico_items
from zoo import ZOO, adapter_folder, model_folder

from tada_studio import pipeline, report
from tada_studio.base_model.families import FAMILIES, family_of
from tada_studio.base_model.families.sentence_encoder import SCALE
from tada_studio.base_model.generate import Sampling, answers, next_log_probs, tokens_of
from tada_studio.errors import BaseError, InputError
from tada_studio.evaluation import Item, read_items, score
from tada_studio.evaluation.answers import SPARE, ShortItem
from tada_studio.evaluation.passages import Passage
from tada_studio.html_report import html_report
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe

LINES = [" ".join(WORDS[i : i + 6]) for i in range(8)]
TASK_LINES = [f"question : what is {word} ? answer :" for word in WORDS[8:16]]
ITEMS = [Item("what is quartz ?", ("hard", "soft rock", "soft"), 1), Item("gold is", ("red", "blue water"), 0)]
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
#: Class, config without the size of the vocabulary, target modules, and the towers that are expected.
KINDS = {
    "T5": (hf.T5ForConditionalGeneration, lambda n: hf.T5Config(vocab_size=n, d_model=32, d_kv=8, d_ff=48, num_layers=3,
           num_decoder_layers=2, num_heads=4, decoder_start_token_id=3, **SPECIAL), ["q", "v", "wi"], ["encoder", "decoder"]),
    "BART": (hf.BartForConditionalGeneration, lambda n: hf.BartConfig(vocab_size=n, d_model=32, encoder_layers=2, decoder_layers=2,
             encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48,
             max_position_embeddings=64, forced_bos_token_id=1, forced_eos_token_id=None, decoder_start_token_id=2, **SPECIAL),
             ["q_proj", "fc1"], ["encoder", "decoder"]),
    "LLaVA": (hf.LlavaForConditionalGeneration, lambda n: hf.LlavaConfig(text_config={**TEXT, "num_key_value_heads": 2,
              "vocab_size": n, "max_position_embeddings": 128, "model_type": "llama", **SPECIAL}, vision_config={**TEXT,
              "image_size": 16, "patch_size": 8, "projection_dim": 8, "model_type": "clip_vision_model"},
              image_token_index=0), ["q_proj", "v_proj", "fc1"], ["vision_tower", "language_model"]),
    "MiniLM": (hf.BertModel, lambda n: hf.BertConfig(vocab_size=n, pad_token_id=3, **TEXT), ["query", "output.dense"], [""]),
}  # fmt: skip
TASK_TYPES = {"T5": "SEQ_2_SEQ_LM", "BART": "SEQ_2_SEQ_LM", "LLaVA": "CAUSAL_LM", "MiniLM": "FEATURE_EXTRACTION"}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    """(name, folder of a base with a task and a domain adapter on every tower that its targets are in)"""
    model, config, targets, _ = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    words = hf.AutoTokenizer.from_pretrained(pico_base(folder / "words", layers=1))
    words.save_pretrained(folder / "base")
    torch.manual_seed(0)
    made = model(config(len(words)))
    for name, parameter in made.named_parameters():
        if "norm" not in name.lower():
            parameter.data = 0.3 * torch.randn_like(parameter)
    made.save_pretrained(folder / "base")
    for seed, role in enumerate(("task", "domain")):
        torch.manual_seed(seed)
        about = LoraConfig(r=2, target_modules=targets, task_type=TASK_TYPES[request.param], init_lora_weights=False)
        get_peft_model(model.from_pretrained(folder / "base"), about).save_pretrained(folder / role)
    return request.param, folder


@pytest.fixture(scope="module")
def opened(kind):
    """(name, base, pair)"""
    name, folder = kind
    pair = pipeline.read_pair(folder / "task", folder / "domain", base=folder / "base")
    return name, pipeline.load_base(folder / "base", device="cpu"), pair


def test_the_straight_line(opened, tmp_path):
    name, base, pair = opened
    readings = pipeline.probe(pair, base, LINES, task_inputs=TASK_LINES)
    merge = Merge(pair, readings, Recipe())
    assert list(merge.gates.by_tower) == list(merge.depths) == KINDS[name][3]
    reacts = dict.fromkeys(KINDS[name][3], False)
    for place, response in zip(pair.addresses.values(), readings.task.sum(1).tolist(), strict=True):
        reacts[place.tower] |= response > 0
    assert reacts == {tower: tower != "vision_tower" for tower in reacts}, "what texts do not run says nothing"
    computed = Merge(pair, readings, Recipe(method="gates")).gates.by_tower
    for tower, part in computed.items():
        assert (len(part.values[part.there].unique()) > 1) == reacts[tower]
    items = read_items(pico_items(tmp_path / "items.jsonl", 6))
    scores = pipeline.evaluate(base, {"base": None, "task": pair.task, "tada": merge.adapter}, items)
    assert not torch.equal(scores["base"].loglik, scores["tada"].loglik)
    assert scores["tada"].loglik.isfinite().all() and 0 <= scores["tada"].accuracy <= 1
    certificate = pipeline.export(merge.adapter, tmp_path / "out", base=base)
    assert certificate.holds and certificate.logit_error < 1e-4, certificate.sentences
    page = html_report(merge, "towers")
    for tower in filter(None, KINDS[name][3]):
        assert f"Gates on each kind of inputs, {tower}" in page and f"Every gate of the {tower} as a number" in page


def test_choices_are_as_likely_as_the_plain_model_says(opened):
    name, base, pair = opened
    with base.with_adapter(pair.task), torch.inference_mode():
        found = pipeline.evaluate(base, {"x": None}, ITEMS)["x"].loglik
        wanted = torch.full_like(found, -torch.inf)
        for i, item in enumerate(ITEMS):
            for j, choice in enumerate(item.choices):
                wanted[i, j] = PLAIN[name](base, item.question, choice)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def in_the_decoder(base, question, choice):
    """transformers' own loss of the choice as labels, times their number."""
    labels = torch.tensor([base.tokenizer(text_target=choice).input_ids])
    ids = torch.tensor([base.tokenizer(question).input_ids])
    return -base.model(input_ids=ids, labels=labels).loss * labels.shape[1]


def behind_the_question(base, question, choice):
    context, whole = (base.tokenizer(text).input_ids for text in (question, f"{question} {choice}"))
    log_probs = base.model(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(log_probs[i - 1, whole[i]] for i in range(len(context), len(whole)))


def by_cosine(base, question, choice):
    one, other = (
        base.model(input_ids=torch.tensor([base.tokenizer(text).input_ids])).last_hidden_state[0].mean(0)
        for text in (question, choice)
    )
    return SCALE * (one @ other / one.norm() / other.norm())


PLAIN = {"T5": in_the_decoder, "BART": in_the_decoder, "LLaVA": behind_the_question, "MiniLM": by_cosine}


def test_a_greedy_answer_is_transformers_own_alone_and_in_a_batch(opened):
    name, base, pair = opened
    prompts = ["question : what is quartz ? answer :", "gold is"]
    if name == "MiniLM":
        with pytest.raises(InputError, match="is a sentence encoder and writes no text"):
            tokens_of(base, prompts[0])
        return
    with base.with_adapter(pair.task):
        tokens = [tokens_of(base, prompt) for prompt in prompts]
        theirs = [
            base.tokenizer.decode(
                base.model.generate(torch.tensor([ids]), max_new_tokens=7, do_sample=False)[0][
                    0 if base.model.config.is_encoder_decoder else len(ids) :
                ],
                skip_special_tokens=True,
            )
            for ids in tokens
        ]
        assert answers(base, tokens, Sampling(most=7)) == theirs
        assert [answers(base, [ids], Sampling(most=7))[0] for ids in tokens] == theirs and any(theirs)
        assert next_log_probs(base, tokens).exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-4)
        found = score(base, [ShortItem(prompts[0], ("quartz",))])
        reply = answers(base, tokens[:1], Sampling(most=1 + SPARE))[0].strip()
        assert found.replies == (reply,) and found.correct.tolist() == [reply == "quartz"]


def test_what_a_family_cannot_do_is_one_sentence(opened, tmp_path):
    _, base, pair = opened
    texts = [Passage(line) for line in LINES[:2]]
    if base.family.continues:
        assert pipeline.evaluate(base, {"x": None}, texts)["x"].nll > 0
    else:
        with pytest.raises(InputError, match="does not go on from a text by itself"):
            pipeline.evaluate(base, {"x": None}, texts)
    if not base.family.answers:
        with pytest.raises(InputError, match="auto has no answers of it to compare"):
            pipeline.calibrate(pair, base, LINES, TASK_LINES)


@pytest.mark.parametrize(("config", "name"), [
    ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "a decoder"),
    ({"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"}, "a classifier of texts"),
    ({"architectures": ["ViTModel"], "model_type": "vit"}, "a classifier of images"),
    ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True}, "an encoder-decoder"),
    ({"architectures": ["MPNetModel"], "model_type": "mpnet"}, "a sentence encoder"),
    ({"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "is_encoder_decoder": True},
     "a model that listens"),
    ({"architectures": ["CLIPModel"], "model_type": "clip"}, "a pair of encoders"),
    ({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "vision_config": {}}, "a vision-language model"),
    ({"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text"}, "a decoder"),
    ({}, "a decoder"),
])  # fmt: skip
def test_a_base_s_config_says_of_which_family_it_is(config, name):
    assert family_of(config).name == name
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize(("name", "towers", "does"), [
    ("Whisper", ["encoder", "decoder"], "listens to sound"), ("CLIP", ["vision_model", "text_model"], "compares images with texts"),
])  # fmt: skip
def test_what_is_not_run_is_merged_by_its_weights_and_its_base_refused_in_a_sentence(name, towers, does, tmp_path):
    kind = ZOO[name]
    base = model_folder(tmp_path / "base", kind)
    folders = [adapter_folder(tmp_path / str(i), kind, base, kind.task, i) for i in (1, 2)]
    pair = pipeline.read_pair(*folders, base=base)
    assert list(Merge(pair).gates.by_tower) == towers
    assert pipeline.export(Merge(pair).adapter, tmp_path / "out").holds
    with pytest.raises(BaseError, match=rf"{does}, which is not run here\. Leave the base out"):
        pipeline.load_base(base)


def test_pooling_is_what_the_folder_says(kind, tmp_path):
    name, folder = kind
    if name != "MiniLM":
        return
    from tada_studio.base_model.families.sentence_encoder import pooling_of

    assert pooling_of(folder / "base") == "mean"
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert pooling_of(tmp_path) == "cls"


def test_unread_towers_are_told(opened):
    name, base, pair = opened
    says = report.unread_sentence(pipeline.probe(pair, base, LINES))
    assert (says == "") == (name != "LLaVA")
    assert name != "LLaVA" or "No input ran the vision_tower" in says
