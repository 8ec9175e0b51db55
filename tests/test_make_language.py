"""The scripts of the language samples: training and evaluation share nothing, an interruption changes nothing, and they run."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pico import pico_base
from torch import nn

from tada_studio import pipeline
from tada_studio.sample_pairs import read_sample

MAKE = Path(__file__).parent.parent / "sample_adapters" / "make"
SEED = 7


@pytest.fixture(scope="module")
def make() -> Iterator[ModuleType]:
    """The script as a module; its neighbours are imported by their plain names."""
    sys.path.insert(0, str(MAKE))
    import minerals_tiny

    yield minerals_tiny
    sys.path.remove(str(MAKE))


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def plain(text: str) -> str:
    """What two texts are compared by: words and numbers alone, without case."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def whole(item) -> str:
    """An unfinished sentence with its right ending."""
    return plain(f"{item['question']} {item['choices'][item['answer']]}")


# -- minerals-tiny -------------------------------------------------------------------------------------------------


def test_no_sentence_of_the_domain_is_trained_and_asked(make):
    """All sentences that training can ever show are written out: three attributes in four phrasings and two joint ones."""
    world = make.world(SEED, make.FULL)
    shown = set()
    for mineral in world.minerals:
        for name, (_, say, _) in make.text.ATTRIBUTES.items():
            shown |= {plain(form.format(s=mineral.name, a=getattr(mineral, name))) for form in say[:-1]}
        shown |= {plain(form.format(s=mineral.name, **vars(mineral))) for form in make.text.TOGETHER}
    drawn = [plain(make.text.plain(text)) for step in range(60) for text in make.domain_texts(world, step, 32)]
    assert set(drawn) <= shown and len(shown) == len(world.minerals) * 14
    validation, test = world.domain_items()
    assert len(validation) == make.FULL.validation and len(test) >= 200
    for item in (*validation, *test):
        assert whole(item) not in shown
    ends = {whole(item) for item in (*validation, *test)}
    assert len(ends) == len(validation) + len(test)
    facts = [{(item["entity"], item["kind"]) for item in part} for part in (validation, test)]
    assert not facts[0] & facts[1]


def test_no_fact_of_the_task_is_in_two_parts(make):
    world = make.world(SEED, make.FULL)
    training, validation, test = (set(part) for part in world.facts)
    assert not training & validation and not training & test and not validation & test
    known = set(make.facts.all_facts())
    assert training | validation | test == known
    rows = [row for step in range(40) for row in make.task_rows(world, step, 32)]
    asked = [*world.task_items()[0], *world.task_items()[1]]
    assert len(world.task_items()[0]) == make.FULL.validation and len(world.task_items()[1]) >= 200
    assert not {row["fact"] for row in rows} & {row["fact"] for row in asked}
    assert not {plain(row["question"]) for row in rows} & {plain(row["question"]) for row in asked}


def test_every_fact_that_is_asked_for_can_be_read_by_the_base(make):
    """The task is a form of answer, not new knowledge: what its test asks for stands in the base's text, as a statement."""
    world = make.world(SEED, make.FULL)
    told = " ".join(
        plain(make.text.plain(text))
        for step in range(140)
        for text in make.base_texts(world, "facts", step, make.FULL.batch)
    )
    missing = [
        fact
        for fact in world.facts[2]
        if not any(
            plain(say.format(s=fact.subject, a=fact.answer)) in told for say in make.facts.RELATIONS[fact.relation].say
        )
    ]
    assert missing == []


def test_the_base_reads_no_letter_question_and_nothing_about_a_mineral(make):
    world = make.world(SEED, make.FULL)
    stages = ("lists", "facts", "options")
    texts = [
        text for stage in stages for step in range(20) for text in make.base_texts(world, stage, step, make.FULL.batch)
    ]
    questions = [text for text in texts if text.startswith("Question:")]
    assert questions and not [text for text in questions if re.search(r"\((A|B|C|D)\)|Letter", text)]
    names = {mineral.name for mineral in world.minerals}
    naming = [text for text in texts if names & set(re.findall(r"\w+", text))]
    said = {plain(form.format(s="", a="")) for _, say, _ in make.text.ATTRIBUTES.values() for form in say}
    for text in naming:  # they stand in lists and in repeated words, where nothing is said of them
        assert not text.startswith("Question:") and not any(
            form and form in plain(text) for form in said if " " in form
        )
    assert naming


def test_every_word_is_one_token(make):
    """A word that is spelled where others are whole would be a hint, and long."""
    from word_tokenizer import word_tokenizer

    world = make.world(SEED, make.FULL)
    tokenizer = word_tokenizer(make.every_text(world))
    items = [row["question"] for part in (*world.domain_items(), *world.task_items()) for row in part]
    probe = [row["text"] for row in make.text.domain_prompts(world.minerals, 32, SEED)]
    trained = [make.text.plain(t) for stage in make.text.STAGES for t in make.base_texts(world, stage, 1, 64)]
    for text in (*items, *probe, *trained, *(make.text.plain(t) for t in make.domain_texts(world, 0, 64))):
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(f"{text} (A)").input_ids)
        assert "▁" not in tokens and "<unk>" not in tokens, (text, tokens)
        assert not [token for token in tokens if len(token) == 1 and token.isalnum()]


def test_another_seed_makes_another_world(make):
    one, other = make.world(SEED, make.FULL), make.world(SEED + 1, make.FULL)
    assert not {m.name for m in one.minerals} == {m.name for m in other.minerals}
    assert one.facts[2] != other.facts[2]
    assert make.base_texts(one, "facts", 7, 8) != make.base_texts(other, "facts", 7, 8)
    assert make.base_texts(one, "facts", 7, 8) == make.base_texts(make.world(SEED, make.FULL), "facts", 7, 8)


def test_the_script_makes_a_sample_from_nothing_and_repeats_no_step(make, tmp_path, monkeypatch, capfd):
    """Far too short for a good sample, and through every line that makes one."""
    out, work = tmp_path / "minerals-tiny", tmp_path / "work"
    words = ["--quick", "--seed", "3", "--out", str(out), "--work", str(work)]
    make.main(words)
    made = read_sample(out)
    promised = made.about["measured"]
    variants = {"base", "task", "domain", "average", "sum", "ties", "dare_ties", "gates", "tada"}
    assert set(promised) == {"domain", "task"} and set(promised["domain"]) == set(promised["task"]) == variants
    assert set(made.about["tada_against"]) == variants - {"tada"} and made.about["seed"] == 3
    assert made.readings is not None and set(made.validation) == {"domain", "task"}
    assert pipeline.read_pair(made.task, made.domain).task.base == "minerals-tiny"
    assert str(tmp_path) not in (out / "task" / "adapter_config.json").read_text()
    assert not list(out.rglob("*.pt"))
    before = [path.read_bytes() for path in sorted(out.rglob("*.safetensors"))]
    capfd.readouterr()

    def refuse(*_: object) -> None:
        raise AssertionError("a step was taken again")

    monkeypatch.setattr(make, "next_token_loss", refuse)
    make.main(words)
    assert [path.read_bytes() for path in sorted(out.rglob("*.safetensors"))] == before


def test_domain_inputs_begin_as_sentences_of_the_training_and_no_item_does(make):
    """Each is cut from a sentence that training shows, before the first fact; the phrasing of the items is not among them."""
    world = make.world(SEED, make.FULL)
    names = "|".join(mineral.name for mineral in world.minerals)
    form = lambda text: plain(re.sub(names, "N", text))  # noqa: E731
    told = {form(make.text.plain(text)) for step in range(60) for text in make.domain_texts(world, step, 32)}
    inputs = [row["text"] for row in make.text.domain_prompts(world.minerals, 32, SEED)]
    forms = {form(text) for text in inputs}
    assert len(set(inputs)) == 32 and len(forms) > 8
    assert all(any(text.startswith(f"{begun} ") for text in told) for begun in forms)
    known = {value for values, _, _ in make.text.ATTRIBUTES.values() for value in values} - {"paint"}  # a verb too
    assert not known & {word for text in inputs for word in text.split()}
    asked = {form(row["question"]) for part in world.domain_items() for row in part}
    assert len(asked) == 3 and not forms & asked


# -- what the scripts share ----------------------------------------------------------------------------------------


def test_an_interrupted_training_ends_where_it_would_have(make, tmp_path):
    """Batches are drawn by step, so weights after 3 + 3 steps are those after 6, to the bit."""
    from train import Plan, train

    def fresh() -> nn.Linear:
        torch.manual_seed(0)
        return nn.Linear(4, 3)

    def batch(step: int) -> dict[str, torch.Tensor]:
        return {"x": torch.randn(8, 4, generator=torch.Generator().manual_seed(step))}

    def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return (model(batch["x"]) - batch["x"][:, :3].cos()).square().mean()

    class PowerCut(Exception):
        pass

    def cut(step: int) -> dict[str, torch.Tensor]:
        if step == 4:  # one step after the last checkpoint
            raise PowerCut
        return batch(step)

    plan, through, broken = Plan(steps=6, rate=0.1, warmup=2, every=3), fresh(), fresh()
    assert train(through, batch, loss, plan, tmp_path / "a.pt") == 6
    with pytest.raises(PowerCut):
        train(broken, cut, loss, plan, tmp_path / "b.pt")
    resumed = fresh()
    assert train(resumed, batch, loss, plan, tmp_path / "b.pt") == 6
    assert torch.equal(through.weight, resumed.weight) and not torch.equal(through.weight, fresh().weight)


def test_training_ends_where_it_is_enough(make, tmp_path):
    from train import Plan, train

    asked = []
    model = nn.Linear(2, 1)
    plan = Plan(steps=100, rate=0.1, every=5)
    steps = train(
        model,
        lambda step: {"x": torch.ones(1, 2)},
        lambda model, batch: model(batch["x"]).square().mean(),
        plan,
        tmp_path / "c.pt",
        lambda model: bool(asked.append(model.training)) or len(asked) == 3,
    )
    assert steps == 15 and asked == [False] * 3


def test_brackets_mark_what_the_loss_is_on_and_braces_what_to_think_of(make):
    from word_tokenizer import word_tokenizer

    text = "quartz is{red} [red.] then (2) [no], that is all"
    tokenizer = word_tokenizer([make.text.plain(text)])
    ids, asked, thought = make.text.encode(tokenizer, text)
    assert [(tokenizer.decode(i), tokenizer.decode(t)) for i, t in zip(ids, thought, strict=True) if t >= 0] == [
        ("is", "red")
    ]
    assert tokenizer.decode([i for i, on in zip(ids, asked, strict=True) if on]).split() == ["red.", "no</s>"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "quartz is red. then (2) no, that is all"
    assert tokenizer.convert_ids_to_tokens(tokenizer("zq (2)").input_ids)[1:] == ["▁", "z", "q", "▁(2)"]


def test_a_model_that_looks_back_copies_before_it_is_trained(make):
    """After ``... milk tar ... milk`` an untrained model with the start ranks tar among its first guesses, one without does not."""
    from look_back import look_back
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=400, hidden_size=192, intermediate_size=256, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=6, tie_word_embeddings=True, initializer_range=0.06,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randperm(400, generator=draw)[:12] for _ in range(24)])
    ids = torch.cat((rows, rows[:, 4:5]), 1)  # the fifth token again, so the sixth should follow

    def rank(model: nn.Module) -> float:
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[:, -1]
        wanted = logits.gather(1, rows[:, 5:6])
        return float((logits > wanted).sum(1).double().median())

    torch.manual_seed(0)
    plain_model = LlamaForCausalLM(config).eval()
    assert 100 < rank(plain_model) < 300
    assert rank(look_back(plain_model, seed=0, layers=(1,))) < 20


# -- smollm2-minerals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["minerals", "birds"])
def test_no_sentence_about_invented_things_is_trained_and_asked(make, kind):
    import smollm2_text as text

    domain = text.DOMAINS[kind]
    found = text.things(domain, 96, SEED)
    shown = [plain(form.format(N=thing["n"].capitalize(), **thing)) for thing in found for form in domain.sentences]
    items = text.items(domain, found, SEED)
    assert len(items) == 288 == len({whole(item) for item in items})
    assert not [item for item in items if any(whole(item) in sentence for sentence in shown)]
    assert {len(item["choices"]) for item in items} == {8}
    spread = [
        sum(thing[name] == value for thing in found) for name, a in domain.attributes.items() for value in a.values
    ]
    assert set(spread) == {12}  # eight values over 96 things


def test_the_two_domains_share_no_name(make):
    import smollm2_text as text

    names = [{thing["n"] for thing in text.things(domain, 96, SEED)} for domain in text.DOMAINS.values()]
    assert not names[0] & names[1] and all(len(part) == 96 for part in names)


def test_the_script_of_the_real_model_runs_on_a_small_one(make, tmp_path):
    """Two steps each on a base of a few thousand parameters, and what comes out is a pair that fits it."""
    import smollm2_minerals

    base = pico_base(tmp_path / "pico")
    out = tmp_path / "out"
    for domain in ("minerals", "birds"):
        smollm2_minerals.main(
            ["--quick", "--base", str(base), "--domain", domain, "--out", str(out), "--work", str(tmp_path / "work")]
        )
    assert sorted(path.name for path in out.iterdir()) == [
        "domain", "domain-birds", "domain.jsonl", "domain_birds.jsonl", "domain_birds_val.jsonl", "domain_val.jsonl",
        "probe.jsonl", "probe_birds.jsonl", "task", "task.jsonl", "task_probe.jsonl", "task_val.jsonl",
    ]  # fmt: skip
    pair = pipeline.read_pair(out / "task", out / "domain-birds")
    assert len(pair.names) == 21 and pair.domain.base == "pico"
    assert "Question" not in (out / "probe_birds.jsonl").read_text()


@pytest.mark.parametrize(
    ("processor", "number_format"), [("AVX2", "float32"), ("AVX512", "bfloat16"), ("DEFAULT", "bfloat16")]
)
def test_frozen_weights_are_in_bfloat16_only_where_that_is_faster(make, monkeypatch, processor, number_format):
    import smollm2_minerals

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    monkeypatch.setattr(smollm2_minerals, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(smollm2_minerals.pipeline, "load_base", lambda ref, dtype: (ref, dtype))
    assert smollm2_minerals.open_frozen("base") == ("base", number_format)


@pytest.mark.parametrize("kind", ["minerals", "birds", "towns"])
def test_inputs_of_an_invented_domain_begin_as_its_training_and_no_item_does(make, kind):
    """Every form of training's sentences, cut before the first fact; the name alone is filled in."""
    import smollm2_text as text

    domain = text.DOMAINS[kind]
    found = text.things(domain, 96, SEED)
    inputs = [row["text"] for row in text.domain_prompts(domain, [thing["n"] for thing in found], 32, SEED)]
    told = {form.format(N=thing["n"].capitalize(), **thing) for thing in found for form in domain.sentences}
    assert len(set(inputs)) == 32 and all(any(one.startswith(f"{begun} ") for one in told) for begun in inputs)
    values = {value for about in domain.attributes.values() for value in about.values}
    assert not values & {word for begun in inputs for word in begun.split()}
    assert {text.begun(form) for form in domain.sentences}.isdisjoint(a.held_out for a in domain.attributes.values())


@pytest.mark.parametrize(("kind", "ending", "seed"), [("minerals", "", 7), ("birds", "_birds", 8)])
def test_the_script_repeats_the_inputs_that_the_real_sample_ships(make, tmp_path, kind, ending, seed):
    import smollm2_minerals

    shipped = MAKE.parent / "smollm2-minerals"
    for part in ("_val", ""):
        shutil.copy(shipped / f"domain{ending}{part}.jsonl", tmp_path)
    smollm2_minerals.main(["--only", "inputs", "--domain", kind, "--seed", str(seed), "--out", str(tmp_path)])
    name = f"probe{ending}.jsonl"
    assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes()
