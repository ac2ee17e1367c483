"""One stage after the other, for real: what stages of a chain share, and what happens to bad data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from editable import Editable
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedTokenizerFast,
    RemBertConfig,
    RemBertModel,
)

from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import Plan, expand
from xlift.registry.stage import Cutting, Data, Mixing
from xlift.registry.store import Store
from xlift.runners import nets, train
from xlift.runners.jobs import Env
from xlift.runners.kinds import kind_of
from xlift.runners.kinds.base import Reading
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.mlm import Text
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.tag import Tagged
from xlift.runners.nets import Net
from xlift.runners.packing import collate
from xlift.runners.run import Unscored, run

LAB = Editable("""\
schema: xlift/1
id: chains
question: What do stages share?
data: {source: lab, world: {test_items: 20, train_items: 64, sentences: 200}}
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 400}}]
pretrain: {recipe: {lr: 4e-3, steps: 4, batch: 8, max_length: 48, dropout: 0, head_dropout: 0}}
recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 48, dropout: 0, head_dropout: 0}
matrix: {intermediate: [none, lab-duplicate, lab-paraphrase], target: [lab-paraphrase], seed: {count: 1, from: 1}}
""")
LOCAL = Editable("""\
schema: xlift/1
id: files
question: What happens to bad data?
data: {source: local}
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 200}}]
pretrain: {corpus: text, languages: [en, de], recipe: {steps: 2, batch: 4, max_length: 32}}
recipe: {lr: 1e-3, steps: 2, batch: 4, max_length: 32}
tasks:
  mine: {kind: pair, labels: ["no", "yes"], languages: [de, en, es, fr]}
  text: {kind: mlm, files: "text/{language}.jsonl"}
matrix: {intermediate: [none], target: [mine], seed: {count: 1, from: 1}}
""")


def planned(folder: Path, text: str, data: Path | None = None) -> Plan:
    (folder / "study.yaml").write_text(text)
    study = load(folder / "study.yaml")
    return expand(study, Inputs(study, data))


def ran(plan: Plan, folder: Path, kinds: tuple[str, ...] = ("pretrain", "train", "evaluate"), data: Path | None = None) -> Store:
    store = Store(folder / "store")
    for step in plan.steps:
        if step.stage.kind in kinds:
            assert run(step, Env(store.root, Inputs(plan.study, data)))
    return store


def written(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def files(tmp_path) -> Path:
    """The data folder of the study LOCAL."""
    folder = tmp_path / "data"
    pairs = [{"first": f"a book {i}", "second": f"the river {i % 3}", "label": ["no", "yes"][i % 2]} for i in range(12)]
    written(folder / "mine" / "train.en.jsonl", pairs)
    for language in ("de", "en", "es", "fr"):
        written(folder / "mine" / f"test.{language}.jsonl", pairs[:6])
    for language in ("en", "de"):
        written(folder / "text" / f"{language}.jsonl", [{"text": f"the {language} fox reads book number {i}"} for i in range(30)])
    return folder


# 1.2: what the stages of a chain share


def test_a_second_stage_s_head_is_not_the_head_that_the_first_began_with(tmp_path, monkeypatch):
    """And baseline and treated runs share theirs where the tasks differ, not where they are one."""
    plan, begun, orders = planned(tmp_path, LAB), {}, {}
    fit = train.fit

    def watched(net, courses, *rest, **options):
        begun[len(begun)] = [{name: p.clone() for name, p in course.head.state_dict().items()} for course in courses]
        orders[len(orders)] = [course.entropy for course in courses]
        return fit(net, courses, *rest, **options)

    monkeypatch.setattr(train, "fit", watched)
    ran(plan, tmp_path, ("pretrain", "train"))
    trained = [step.stage for step in plan.steps if step.stage.kind != "evaluate"]
    number = {stage.id: i for i, stage in enumerate(trained)}
    target = {stage.parent.data.task: stage for stage in trained if stage.data.task == "lab-paraphrase"}
    baseline, treated, twice = (target[task] for task in ("lab-corpus", "lab-duplicate", "lab-paraphrase"))

    def head(stage):
        return begun[number[stage.id]][0]["out.weight"]

    first = next(stage for stage in trained if stage.data.task == "lab-duplicate")
    assert head(first).shape == head(treated).shape and not torch.equal(head(first), head(treated))
    assert torch.equal(head(baseline), head(treated))
    assert orders[number[baseline.id]] == orders[number[treated.id]] != orders[number[first.id]]
    assert twice.parent == baseline and not torch.equal(head(twice), head(baseline))
    assert orders[number[twice.id]] != orders[number[baseline.id]]


def test_a_mixture_s_name_changes_no_draw_and_no_id(tmp_path):
    text = LAB.replace(
        "matrix: {intermediate: [none, ",
        "mixtures: {NAME: {of: [lab-entail, lab-duplicate]}}\nmatrix: {intermediate: [none, NAME, ",
    )
    one, other = (planned(tmp_path, text.replace("NAME", name)) for name in ("multi", "another"))
    assert {step.stage.id for step in one.steps} == {step.stage.id for step in other.steps}
    entropies = [
        [step.stage.entropy(step.stage.data) for step in plan.steps if step.stage.data.kind == "mixture"] for plan in (one, other)
    ]
    assert entropies[0] == entropies[1] and len(entropies[0]) == 1


# 1.3, 1.8: bad data


def test_a_bad_language_never_hides_a_good_one(tmp_path, files):
    same = [{"first": "a", "second": "b", "label": "yes"}] * 6
    written(files / "mine" / "test.de.jsonl", same)
    written(files / "mine" / "test.es.jsonl", same[:1])
    plan = planned(tmp_path, LOCAL, files)
    store = ran(plan, tmp_path, ("pretrain", "train"), files)
    step = next(step for step in plan.steps if step.stage.kind == "evaluate")
    for _ in range(2):
        with pytest.raises(Unscored, match=r"^de: .*same gold label everywhere.*; es: ") as caught:
            run(step, Env(store.root, Inputs(plan.study, files)))
        assert "fr" not in str(caught.value).split(":")[0]
        assert {score.language for score in store.scores(step.stage.id)} == {"en", "fr"}
    written(files / "mine" / "test.de.jsonl", [*same, {"first": "a", "second": "b", "label": "no"}])
    again = planned(tmp_path, LOCAL, files)
    with pytest.raises(Unscored, match="^es: "):
        run(again.steps[-1], Env(store.root, Inputs(again.study, files)))
    assert {score.language for score in store.scores(step.stage.id)} == {"de", "en", "fr"}


@pytest.mark.parametrize(("name", "kind"), [("mine/train.en", "train"), ("text/de", "pretrain"), ("mine/test.fr", "evaluate")])
def test_data_that_changed_after_the_plan_are_not_committed_under_its_digest(tmp_path, files, name, kind):
    plan = planned(tmp_path, LOCAL, files)
    before = {"pretrain": (), "train": ("pretrain",), "evaluate": ("pretrain", "train")}[kind]
    store = ran(plan, tmp_path, before, files)
    file = files / f"{name}.jsonl"
    file.write_text(file.read_text() + file.read_text().splitlines()[0] + "\n")
    step = next(step for step in plan.steps if step.stage.kind == kind)
    with pytest.raises(ValueError, match="changed after the plan was made"):
        run(step, Env(store.root, Inputs(plan.study, files)))
    assert kind == "evaluate" or store.record(step.stage.id) is None
    assert not any(score.language == "fr" for score in store.scores(step.stage.id))


def test_weights_that_changed_after_the_plan_are_named(tmp_path, files):
    folder = saved(tmp_path / "model", BertModel(tiny(BertConfig)))
    text = LOCAL.replace(
        "models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 200}}]",
        f"models: [{{id: one, family: bert, folder: {folder.name}}}]",
    )
    plan = planned(tmp_path, text.replace(text[text.index("pretrain:") : text.index("recipe: {lr")], ""), files)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(ValueError, match="weights of this stage's model changed after the plan"):
        run(plan.steps[0], Env(tmp_path / "store", Inputs(plan.study, files)))


def test_half_of_a_surrogate_pair_is_refused_with_its_place(tmp_path, files):
    file = files / "mine" / "train.en.jsonl"
    file.write_text(file.read_text().replace("a book 3", "a book \\ud800", 1))
    plan = planned(tmp_path, LOCAL, files)
    store = ran(plan, tmp_path, ("pretrain",), files)
    with pytest.raises(ValueError, match=r"train\.en\.jsonl:4: half of a surrogate pair"):
        run(plan.steps[1], Env(store.root, Inputs(plan.study, files)))


# 1.4, 1.6, 1.7: sequences


def bytewise() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer, as GPT-2's family has it: a word within a text begins with its blank."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(["the cat sat on the mat", "the cats sat", "cat mats"] * 30, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def test_tags_of_a_byte_level_tokenizer_see_running_text():
    tokenizer, words = bytewise(), ("the", "cat", "sat", "on", "mats")
    described = Data(source="local", kind="tag", task="t", labels=("X", "Y"))
    example = Tagged(words, ("X", "Y", "X", "Y", "X"))
    (feature,) = kind_of("tag").encode([example], Reading(tokenizer, Cutting(max_length=40, stride=8)), described, "en")
    running = tokenizer(" ".join(words))["input_ids"]
    assert feature.sequences[0].tolist() == running
    shown = tokenizer.convert_ids_to_tokens(feature.sequences[0][feature.trace].tolist())
    assert shown[0][0] != "Ġ" and all(piece[0] == "Ġ" for piece in shown[1:])
    assert feature.labels[feature.trace].tolist() == [0, 1, 0, 1, 0]
    (apart,) = kind_of("tag").encode([example], Reading(tokenizer, Cutting(max_length=40, stride=8)), described, "zh")
    assert "Ġ" not in "".join(tokenizer.convert_ids_to_tokens(apart.sequences[0].tolist()))


def test_tags_of_a_word_initial_tokenizer_see_what_they_saw(tokenizer):
    words = ("Wer", "schrieb", "den", "Brief", "?")
    described = Data(source="local", kind="tag", task="t", labels=("X",))
    features = [
        kind_of("tag").encode(
            [Tagged(words, ("X",) * 5)], Reading(tokenizer, Cutting(max_length=40, stride=8)), described, language
        )[0]
        for language in ("de", "zh")
    ]
    assert np.array_equal(features[0].sequences[0], features[1].sequences[0]) and np.array_equal(*(f.trace for f in features))


def test_a_long_context_loses_its_end_and_never_the_question(tokenizer):
    context, question = "the quick brown fox jumps over the lazy dog " * 20, "who wrote the first letter?"
    described = Data(source="local", kind="choice", task="t")
    example = Choice(context, question, ("a woman", "the king of the islands"), 1)
    (feature,) = kind_of("choice").encode([example], Reading(tokenizer, Cutting(max_length=64, stride=8)), described, "en")
    asked = tokenizer(question, add_special_tokens=False)["input_ids"]
    for row, choice in zip(feature.sequences, example.choices, strict=True):
        text = tokenizer.decode(row, skip_special_tokens=True)
        letters = text.replace("▁", "").replace(" ", "")
        assert 50 < len(row) <= 64 and letters.startswith("thequickbrownfox") and letters.endswith(choice.replace(" ", ""))
        assert any(row[i : i + len(asked)].tolist() == asked for i in range(len(row)))
    starts = [row[: second - 2].tolist() for row, second in zip(feature.sequences, feature.seconds, strict=True)]
    assert starts[0] == starts[1]  # every choice follows the same part of the context


def test_short_choices_are_what_the_tokenizer_makes_of_a_pair(tokenizer):
    described = Data(source="local", kind="choice", task="t")
    example = Choice("a woman reads", "who?", ("the king", "a fox"), 0, stem="it is")
    (feature,) = kind_of("choice").encode([example], Reading(tokenizer, Cutting(max_length=64, stride=8)), described, "en")
    for row, choice in zip(feature.sequences, example.choices, strict=True):
        assert row.tolist() == tokenizer("a woman reads who?", f"it is {choice}")["input_ids"]


@pytest.mark.parametrize("room", range(2, 30))
def test_pairs_are_cut_as_the_tokenizer_cuts_them(tokenizer, room):
    described = Data(source="local", kind="pair", task="t", labels=("a", "b"))
    first, second = "the quick brown fox jumps over", "a woman reads a book about old towns"
    for pair in ((first, second), (second, first), (first, "a"), ("a", first)):
        (feature,) = kind_of("pair").encode(
            [Pair(*pair, "a")], Reading(tokenizer, Cutting(max_length=room + 4, stride=8)), described, "en"
        )
        assert feature.sequences[0].tolist() == tokenizer(*pair, truncation="longest_first", max_length=room + 4)["input_ids"]


def tiny(kind, **more):
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return kind(**shape, vocab_size=200, max_position_embeddings=64, pad_token_id=1, bos_token_id=0, eos_token_id=2, **more)


def saved(folder: Path, encoder) -> Path:
    """A transformers folder with a tokenizer of 200 pieces."""
    texts = [f"the fox reads book number {i} near the river" for i in range(60)]
    encoder.save_pretrained(folder)
    nets.train_tokenizer(texts, 200, 64).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["pair", "choice", "span"])
def test_an_encoder_with_types_of_token_is_told_which_text_a_token_is_of(tokenizer, kind):
    from xlift.runners.kinds.span import Question

    described = Data(source="local", kind=kind, task="t", labels=("a", "b") if kind == "pair" else ())
    example = {
        "pair": Pair("a woman reads", "the fox", "a"),
        "choice": Choice("a woman", "who?", ("the fox", "a book about towns"), 0),
        "span": Question("the fox jumps", "who jumps?", ("fox",), (4,), "1"),
    }[kind]
    features = kind_of(kind).encode([example], Reading(tokenizer, Cutting(max_length=40, stride=8)), described, "en")
    batch = collate(features, tokenizer.pad_token_id, "cpu")
    separators = (batch.ids == tokenizer.sep_token_id).long()
    assert torch.equal(batch.types, (separators.cumsum(1) - separators >= 2).long() * batch.mask)
    torch.manual_seed(0)
    net = Net(
        BertModel(
            tiny(BertConfig, type_vocab_size=2).__class__(**{**tiny(BertConfig).to_dict(), "vocab_size": len(tokenizer)}),
            add_pooling_layer=False,
        ).eval(),
        tokenizer,
    )
    with torch.inference_mode():
        alone = net.encoder(input_ids=batch.ids, attention_mask=batch.mask.long(), token_type_ids=batch.types).last_hidden_state
        assert torch.equal(net.hidden(batch), alone)


@pytest.mark.parametrize(
    "encoder",
    [
        lambda: ElectraModel(tiny(ElectraConfig, embedding_size=16)),
        lambda: RemBertModel(tiny(RemBertConfig, input_embedding_size=16, output_embedding_size=24), add_pooling_layer=False),
    ],
    ids=["electra", "rembert"],
)
def test_masked_language_modelling_fits_encoders_with_narrow_embeddings(tokenizer, encoder):
    built = encoder()
    described = Data(source="local", kind="mlm", task="t")
    features = kind_of("mlm").encode(
        [Text("the quick brown fox")] * 3, Reading(tokenizer, Cutting(max_length=40, stride=8)), described, "en"
    )
    features = kind_of("mlm").prepare(features, tokenizer, 0.3, np.random.default_rng(0))
    batch = collate(features, tokenizer.pad_token_id, "cpu")
    head = kind_of("mlm").head(built, described, 0.0)
    loss = kind_of("mlm").loss(head(Net(built, tokenizer).hidden(batch), batch), batch)
    loss.backward()
    assert torch.isfinite(loss) and built.get_input_embeddings().weight.grad.abs().sum() > 0


def test_continued_language_modelling_begins_with_the_model_s_own_head(tmp_path, files):
    torch.manual_seed(3)
    whole = BertForMaskedLM(tiny(BertConfig))
    with torch.no_grad():
        whole.cls.predictions.bias.normal_()
    folder = saved(tmp_path / "model", whole)
    net = nets.load(folder)
    head = nets.continued(heads_of(net), folder, None)
    theirs = whole.cls.predictions
    assert torch.equal(head.dense.weight, theirs.transform.dense.weight) and torch.equal(head.bias, theirs.bias)
    assert torch.equal(head.norm.weight, theirs.transform.LayerNorm.weight)
    without = saved(tmp_path / "bare", BertModel(tiny(BertConfig)))
    new = heads_of(nets.load(without))
    before = {name: p.clone() for name, p in new.state_dict().items()}
    assert all(torch.equal(p, before[name]) for name, p in nets.continued(new, without, None).state_dict().items())
    text = LOCAL.replace(
        "models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 200}}]",
        "models: [{id: one, family: bert, folder: model}]",
    )
    text = text.replace(text[text.index("pretrain:") : text.index("recipe: {lr")], "mlm: {corpus: text, languages: [en, de]}\n")
    text = text.replace("recipe: {lr: 1e-3, steps: 2", "recipe: {lr: 1e-9, steps: 1, weight_decay: 0").replace(
        "intermediate: [none]", "variant: [plain, mlm], intermediate: [none]"
    )
    plan = planned(tmp_path, text, files)
    stage = next(step for step in plan.steps if step.stage.data.kind == "mlm")
    store = Store(tmp_path / "store")
    assert run(stage, Env(store.root, Inputs(plan.study, files)))
    kept = load_file(store.checkpoint(stage.stage.id) / nets.head_file())
    assert torch.allclose(kept["dense.weight"], theirs.transform.dense.weight, atol=1e-6)


def heads_of(net: Net):
    return kind_of("mlm").head(net.encoder, Data(source="local", kind="mlm", task="t"), 0.0)


# 1.5, 1.9, 1.10: what a study is


def test_copies_of_one_model_are_not_two_models(tmp_path, files):
    import shutil

    folder = saved(tmp_path / "m", BertModel(tiny(BertConfig)))
    shutil.copytree(folder, tmp_path / "copy")
    base = LOCAL[: LOCAL.index("models:")] + "models: [MODELS]\n" + LOCAL[LOCAL.index("recipe: {lr") :]
    for other in ("{id: two, family: bert, folder: copy}", "{id: two, family: bert, folder: ./m}"):
        text = base.replace("MODELS", "{id: one, family: bert, folder: m}, " + other)
        with pytest.raises(BadInput, match=r"study\.yaml:\d+:\d+: E219 models 'one' and 'two'"):
            planned(tmp_path, text, files)
    text = base.replace("MODELS", "{id: one, family: bert, folder: m}, {id: two, family: bert, folder: m, seed: 3}")
    with pytest.raises(BadInput, match="E219"):
        planned(tmp_path, text, files)


def test_a_tokenizer_never_has_more_pieces_than_its_model_has_embeddings():
    texts = ["".join(chr(0x4E00 + 50 * i + j) for j in range(50)) for i in range(20)] * 3
    assert len(nets.train_tokenizer(texts, 100, 64)) <= 100


@pytest.mark.parametrize("temperature", [0.001, 0.01, 1.0, 1000.0])
def test_no_temperature_gives_shares_that_are_no_numbers(temperature):
    shares, _ = train.batch_shares(["pair", "pair", "pair"], [400_000, 300_000, 2], Mixing(temperature=temperature))
    assert shares.sum() == pytest.approx(1) and (shares >= 0).all() and shares[0] >= shares[1] >= shares[2]


def test_what_changes_no_number_changes_no_id(tmp_path, files):
    plain = {step.stage.id for step in planned(tmp_path, LOCAL, files).steps}
    limited = LOCAL.replace("data: {source: local}", "data: {source: local, limit: {train: 1000}}")
    assert {step.stage.id for step in planned(tmp_path, limited, files).steps} == plain
    inner = LOCAL.replace("heads: 2,", "heads: 2, inner: 64,")
    assert {step.stage.id for step in planned(tmp_path, inner, files).steps} == plain
    less = LOCAL.replace("data: {source: local}", "data: {source: local, limit: {train: 5}}")
    assert {step.stage.id for step in planned(tmp_path, less, files).steps} != plain


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ('kind: tag, metric: f1_xtreme, labels: ["O", "B-X", "I-X"]', "no metric 'f1_xtreme'"),
        ('kind: tag, metric: entity_f1, labels: ["O", "NOUN"]', "no metric 'entity_f1'"),
        ("kind: span, normaliser: mlqa", "mlqa does not compare answers in fr"),
        ('kind: pair, normaliser: squad, labels: ["a", "b"]', "kind pair compares no answers"),
    ],
)
def test_a_metric_that_the_labels_do_not_have_is_found_before_anything_trains(tmp_path, files, changes, says):
    task = '{kind: pair, labels: ["no", "yes"], languages'
    assert LOCAL.count(task) == 1
    with pytest.raises(BadInput, match=rf"study\.yaml:\d+:\d+: E203 .*{says}"):
        planned(tmp_path, LOCAL.replace(task, "{" + changes + ", languages"), files)


def test_a_study_with_low_rank_adaptation_trains_saves_whole_models_and_scores_them(tmp_path, files):
    plain = planned(tmp_path, LOCAL)
    text = LOCAL.replace(
        "recipe: {lr: 1e-3, steps: 2, batch: 4, max_length: 32}\ntasks",
        "recipe: {lora: {rank: 2}, lr: 1e-3, steps: 2, batch: 4, max_length: 32}\ntasks",
    )
    plan = planned(tmp_path, text, files)
    assert {s.stage.id for s in plain.steps if s.stage.kind == "train"}.isdisjoint(s.stage.id for s in plan.steps)
    store = ran(plan, tmp_path, data=files)
    (train_stage,) = (step.stage for step in plan.steps if step.stage.kind == "train")
    (pretrained,) = (step.stage for step in plan.steps if step.stage.kind == "pretrain")
    before, after = (nets.load(store.checkpoint(stage.id)).encoder.state_dict() for stage in (pretrained, train_stage))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(before[name].ndim == 2 and "embeddings" not in name for name in changed)
    (evaluation,) = (step for step in plan.steps if step.stage.kind == "evaluate")
    assert not store.missing(evaluation.stage.id, evaluation.tests)
