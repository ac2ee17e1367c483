"""Every family of models at toy size, with random weights: trains on every kind, evaluates, saves, reloads equal, and learns."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedTokenizerFast

from xlift.registry.findings import UserError
from xlift.registry.known.architectures import ARCHITECTURES
from xlift.registry.known.memory import training_gb
from xlift.registry.known.parameters import Parameters
from xlift.registry.stage import Data, Lora, Recipe, Scoring
from xlift.runners import evaluate, nets, train
from xlift.runners.kinds import kind_of, tokens
from xlift.runners.kinds.base import IGNORE
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.mlm import Text
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.retrieve import Parallel
from xlift.runners.kinds.span import Question
from xlift.runners.kinds.tag import Tagged
from xlift.runners.packing import collate
from xlift.runners.train import Objective, fit

LIMITS = Scoring(max_length=48, stride=8)
WORDS = "the fox reads a book near the river who wrote letters to towns in north lazy dog über Brief 狐狸".split()
GATED = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
BERT = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
    "type_vocab_size": 1,
}
DISENTANGLED = {"position_biased_input": False, "relative_attention": True, "position_buckets": 16, "share_att_key": True}
MT5 = {"num_layers": 2, "num_decoder_layers": 2, "d_model": 32, "num_heads": 4, "d_kv": 8, "d_ff": 48}
FAMILIES = {  # model_type, sizes, the class of its tokenizer (None: bytes, with nothing around a text)
    "xlmr": ("xlm-roberta", BERT, "XLMRobertaTokenizer"),
    "xlmr-xl": ("xlm-roberta-xl", BERT, "XLMRobertaTokenizer"),
    "mdeberta": ("deberta-v2", BERT | DISENTANGLED | {"pos_att_type": "p2c|c2p", "type_vocab_size": 0}, "DebertaV2Tokenizer"),
    "mmbert": ("modernbert", {k: v for k, v in BERT.items() if k != "type_vocab_size"}, "GemmaTokenizer"),
    "eurobert": ("eurobert", GATED, None),
    "mt5": ("mt5", MT5 | {"feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 8}, "T5Tokenizer"),
    "bloom": ("bloom", {"n_layer": 2, "hidden_size": 32, "n_head": 4}, None),
    "xglm": ("xglm", {"num_layers": 2, "d_model": 32, "attention_heads": 4, "ffn_dim": 48}, "XGLMTokenizer"),
    "qwen2.5": ("qwen2", GATED, "Qwen2Tokenizer"),
    "qwen3": ("qwen3", GATED | {"head_dim": 8}, "Qwen2Tokenizer"),
}

KIN = {  # of other names, of which only the head of masked language modelling is looked at
    "bert": ("bert", BERT, "XLMRobertaTokenizer"),
    "distilbert": ("distilbert", {"n_layers": 2, "dim": 32, "n_heads": 4, "hidden_dim": 64}, "XLMRobertaTokenizer"),
    "electra": ("electra", BERT | {"embedding_size": 16}, "XLMRobertaTokenizer"),
}


def sentence(rng: np.random.Generator, low: int, high: int) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(low, high)))


def byte_tokenizer(corpus: list[str], *, begins: bool) -> PreTrainedTokenizerFast:
    """Pieces of bytes, as BLOOM's; with a token before each text, as EuroBERT's."""
    backend = Tokenizer(tokenizer_models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<pad>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    if begins:
        names["mask_token"] = "<mask>"
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", backend.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def written(family: str, folder: Path, *, texts: str = "X Y a b 1: 2:", of: type = AutoModel, **other: int) -> Path:
    """A folder as transformers saves it, with the whole model's weights drawn from seed 0; `other` sizes than usual.

    The tokenizer is trained on `texts` too.
    """
    kind, sizes, named = (FAMILIES | KIN)[family]
    rng = np.random.default_rng(0)
    corpus = [sentence(rng, 3, 12) for _ in range(200)] + [texts] * 20
    if named:
        tokenizer = getattr(transformers, named)().train_new_from_iterator(corpus, 300)
    else:
        tokenizer = byte_tokenizer(corpus, begins=family == "eurobert")
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    ids["decoder_start_token_id"] = ids["pad_token_id"]
    sizes = sizes | {"vocab_size": len(tokenizer)} | other
    config = AutoConfig.for_model(kind, **sizes, **ids, initializer_range=0.1, init_std=0.1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = of.from_config(config)
        with torch.no_grad():
            for name, parameter in whole.named_parameters():
                if name.endswith("bias") and parameter.ndim == 1:
                    parameter.normal_(std=0.1)
        whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def examples(kind: str, count: int = 50) -> list:
    rng = np.random.default_rng(3)
    made: list = []
    for i in range(count):
        text = sentence(rng, 4, 14)
        match kind:
            case "pair":
                made.append(Pair(text, "a book" if i % 2 else "lazy dog", "ab"[i % 2]))
            case "tag":
                words = tuple(text.split())
                made.append(Tagged(words, tuple("X" if word in ("the", "dog", "river", "狐狸") else "Y" for word in words)))
            case "span":
                answer = text.split()[-1]
                made.append(Question(text, "who wrote", (answer,), (text.rindex(answer),), str(i)))
            case "choice":
                made.append(Choice(text, "", ("the fox", "a letter")[:: 1 if i % 2 else -1], i % 2))
            case "mlm":
                made.append(Text(text))
            case "retrieve":
                made.append(Parallel(text, sentence(rng, 4, 14)))
    return made


def data(kind: str) -> Data:
    labels = {"pair": ("a", "b"), "tag": ("X", "Y")}.get(kind, ())
    metric = {"pair": "accuracy", "tag": "accuracy", "span": "f1", "choice": "accuracy", "retrieve": "accuracy"}.get(kind)
    return Data(source="local", kind=kind, task="t", labels=labels, metric=metric)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_recipe_stands_for_every_dropout_of_a_configuration(model_type):
    """But for those of heads that are not ours, of layers, and inside activations, which are as the model's authors say."""
    row, config = ARCHITECTURES[model_type], AutoConfig.for_model(model_type)
    theirs = {name for name in config.to_dict() if "drop" in name}
    theirs -= {name for name in theirs if re.search("classif|summary|pooler|qa_|layerdrop|activation", name)}
    assert theirs == {*row.dropouts, *row.attention_dropouts}


TRAINED = [
    (family, kind)
    for family, (model_type, _, _) in FAMILIES.items()
    for kind in ("pair", "tag", "span", "choice", "mlm")
    if kind != "mlm" or ARCHITECTURES[model_type].masked
]


@pytest.mark.parametrize(("family", "kind"), TRAINED)
def test_it_learns_is_scored_and_is_the_same_after_it_was_saved(family, kind, folders, tmp_path):
    recipe = Recipe(lr=3e-3, steps=44, epochs=None, batch=16, max_length=48, stride=8, dropout=0.0, head_dropout=0.0)
    net, lines = nets.load(folders(family), recipe=recipe), []
    torch.manual_seed(0)
    head = kind_of(kind).head(net.encoder, data(kind), 0.0)
    fit(net, [Objective(data(kind), examples(kind), "en", head, 1)], recipe, 1, device="cpu", budget=512, log=lines.append)
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    if kind == "mlm":
        return
    net.head = head
    nets.save(net, tmp_path)
    again = nets.load(tmp_path)
    again.head = nets.load_head(kind_of(kind).head(again.encoder, data(kind), 0.0), tmp_path)
    first, second = (
        evaluate.score(each, examples(kind), data(kind), LIMITS, "en", "d", device="cpu", budget=512) for each in (net, again)
    )
    assert first == second and 0 <= first[0].value <= 1
    for mine, other in zip(*(outputs(each, kind) for each in (net, again)), strict=True):
        np.testing.assert_array_equal(mine, other)


def outputs(net: nets.Net, kind: str) -> list[np.ndarray]:
    """The head's outputs for every example alone, without padding."""
    features = kind_of(kind).encode(examples(kind), net.reading(LIMITS), data(kind), "en")
    return evaluate.predict(net, kind_of(kind), features, Scoring(), device="cpu", budget=1)


@pytest.mark.parametrize("family", [name for name, (kind, _, _) in (FAMILIES | KIN).items() if ARCHITECTURES[kind].masked])
def test_masked_language_modelling_goes_on_where_pretraining_left_it(family, tmp_path):
    folder = written(family, tmp_path, of=AutoModelForMaskedLM)
    net = nets.load(folder)
    head = kind_of("mlm").head(net.encoder, data("mlm"), 0.0)
    features = kind_of("mlm").encode(examples("mlm", 8), net.reading(LIMITS), data("mlm"), "en")
    features = kind_of("mlm").prepare(features, net.tokenizer, 0.3, np.random.default_rng(0))
    batch = collate(features, net.padding, "cpu")
    whole = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation=net.encoder.config._attn_implementation).eval()
    with torch.inference_mode():
        theirs = whole(input_ids=batch.ids, attention_mask=batch.mask.long()).logits[batch.padded_labels() != IGNORE]
        assert not torch.allclose(head(net.hidden(batch), batch), theirs, atol=0.1)
        torch.testing.assert_close(nets.continued(head, folder, None)(net.hidden(batch), batch), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_sentences_are_retrieved_by_pooled_states(family, folders):
    net, pairs = nets.load(folders(family)), [Parallel(e.foreign, e.foreign) for e in examples("retrieve")]
    (score, *_) = evaluate.score(net, pairs, data("retrieve"), Scoring(max_length=48), "de", "d", device="cpu", budget=512)
    assert score.value > 0.9  # a sentence is nearest to itself; some stand twice


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["pair", "tag", "span", "choice"])
def test_padding_and_neighbours_change_nothing(family, kind, folders):
    net = nets.load(folders(family))
    torch.manual_seed(0)
    net.head = kind_of(kind).head(net.encoder, data(kind), 0.0)
    features = kind_of(kind).encode(examples(kind), net.reading(LIMITS), data(kind), "en")
    together = evaluate.predict(net, kind_of(kind), features, Scoring(), device="cpu", budget=10**6)
    for mine, other in zip(together, outputs(net, kind), strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5)


@pytest.mark.parametrize("family", [name for name, (kind, _, _) in FAMILIES.items() if ARCHITECTURES[kind].causal])
def test_what_a_causal_model_is_read_from_has_seen_what_it_must(family, folders):
    """Each output that stands for something changes with the last character of it."""
    net = nets.load(folders(family))
    for kind, change in (
        ("pair", lambda e: Pair(e.first, e.second + " 狐狸", e.label)),
        ("choice", lambda e: Choice(e.context, e.question, tuple(c + " 狐狸" for c in e.choices), e.label)),
        ("span", lambda e: Question(e.context + " 狐狸", e.question, e.answers, e.starts, e.id)),
    ):
        torch.manual_seed(0)
        net.head = kind_of(kind).head(net.encoder, data(kind), 0.0)
        before, after = [], []
        for found, changed in ((before, lambda e: e), (after, change)):
            features = kind_of(kind).encode(
                [changed(e) for e in examples(kind, 4)], net.reading(Scoring(max_length=64, stride=8)), data(kind), "en"
            )
            for output, feature in zip(
                evaluate.predict(net, kind_of(kind), features, Scoring(), device="cpu", budget=1), features, strict=True
            ):
                found.append(output[feature.trace.null] if kind == "span" else output)
        assert all(not np.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=True)), kind
    net.head = kind_of("tag").head(net.encoder, data("tag"), 0.0)
    words = ("the", "wrotex"), ("the", "wrotey")
    found = []
    for tagged in words:
        features = kind_of("tag").encode([Tagged(tagged, ("X", "Y"))], net.reading(LIMITS), data("tag"), "en")
        (rows,) = evaluate.predict(net, kind_of("tag"), features, Scoring(), device="cpu", budget=1)
        found.append(rows[features[0].trace[1]])
    assert not np.allclose(*found, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_parted_and_a_causal_model_s_sequences_end(family, folders):
    net = nets.load(folders(family))
    tokenizer, reads = net.tokenizer, ARCHITECTURES[FAMILIES[family][0]].reads
    before, between, after = tokens.frame(tokenizer, pair=True)
    assert len(between)
    if reads == "first":
        assert len(before)
    if reads == "last":
        assert after.tolist() == [tokenizer.eos_token_id] == tokens.frame(tokenizer, pair=False)[1].tolist()
    text = "the fox über 狐狸"
    again = tokens.framed(tokenizer, reads)
    assert [piece.tolist() for piece in tokens.frame(again, pair=True)] == [before.tolist(), between.tolist(), after.tolist()]
    (encoded,) = tokens.sequences(again, [text], max_length=64)
    (bare,) = tokens.pieces(again, [text])
    first, last = tokens.frame(again, pair=False)
    assert encoded.tolist() == [*first, *bare.ids, *last]


def test_a_tokenizer_without_an_end_of_text_is_refused(folders):
    tokenizer = byte_tokenizer(WORDS * 3, begins=False)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no token for the end of a text"):
        tokens.framed(tokenizer, "last")


def test_weights_that_lack_a_tensor_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = written("qwen3", tmp_path / "cut")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "mlp.up_proj" in name)
    save_file({name: each for name, each in weights.items() if name != lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="lack layers.0.mlp.up_proj.weight, which would be drawn at random"):
        nets.load(folder)


def test_a_batch_of_a_causal_model_is_read_at_each_sequence_s_own_end(folders):
    net = nets.load(folders("qwen3"))
    torch.manual_seed(0)
    head = kind_of("pair").head(net.encoder, data("pair"), 0.0)
    features = kind_of("pair").encode(examples("pair"), net.reading(LIMITS), data("pair"), "en")
    batch = collate(features, net.padding, "cpu")
    hidden = net.hidden(batch)
    own = torch.stack([hidden[at, feature.tokens - 1] for at, feature in enumerate(features)])
    torch.testing.assert_close(head(hidden, batch), head.out(torch.tanh(head.dense(own))))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_model_is_the_first_layers_of_the_whole_one(family, folders, tmp_path):
    whole, cut = nets.load(folders(family)), nets.load(folders(family), layers=1)
    batch = collate(
        kind_of("retrieve").encode(examples("retrieve", 3), whole.reading(LIMITS), data("retrieve"), "en"),
        whole.padding,
        "cpu",
    )
    states = [net.encode(batch, output_hidden_states=True).hidden_states for net in (whole, cut)]
    assert len(states[0]) == 3 and len(states[1]) == 2
    torch.testing.assert_close(states[1][0], states[0][0])
    theirs = dict(whole.encoder.named_parameters())
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in cut.encoder.named_parameters())
    cut.encoder.save_pretrained(tmp_path)
    cut.tokenizer.save_pretrained(tmp_path)
    again = nets.load(tmp_path).encode(batch).last_hidden_state
    torch.testing.assert_close(again, cut.encode(batch).last_hidden_state)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_low_rank_adaptation_the_weights_stay_until_it_is_merged(family, folders, tmp_path):
    recipe = Recipe(lora=Lora(rank=4), lr=1e-2, steps=40, epochs=None, batch=16, max_length=48, dropout=0.0, head_dropout=0.0)
    net, lines = nets.load(folders(family), recipe=recipe), []
    before = {name: tensor.clone() for name, tensor in net.encoder.state_dict().items()}
    nets.adapt(net, recipe.lora, 1)
    head = kind_of("pair").head(net.encoder, data("pair"), 0.0)
    fit(net, [Objective(data("pair"), examples("pair"), "en", head, 1)], recipe, 1, device="cpu", budget=512, log=lines.append)
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    held = {name.replace(".base_layer", ""): tensor for name, tensor in net.encoder.state_dict().items()}
    assert all(torch.equal(tensor, held[name]) for name, tensor in before.items())
    net.head = head
    adapted = outputs(net, "pair")
    nets.merge(net, {})
    assert net.encoder.state_dict().keys() == before.keys()
    nets.save(net, tmp_path)
    again = nets.load(tmp_path)
    again.head = nets.load_head(kind_of("pair").head(again.encoder, data("pair"), 0.0), tmp_path)
    for mine, other in zip(adapted, outputs(again, "pair"), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)
    changed = [name for name, tensor in again.encoder.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed and not any("norm" in name.lower() or "embed" in name for name in changed)


@pytest.mark.parametrize(("family", "form"), [*((family, None) for family in FAMILIES), ("mt5", "text-to-text")])
def test_frozen_weights_in_half_the_precision_change_no_bit(family, form, folders):
    """Products in bf16 are of weights in bf16, whoever makes them so; what is merged at the end is fp32."""
    recipe = Recipe(precision="bf16", lora=Lora(rank=4), lr=1e-2, steps=4, epochs=None, batch=8, max_length=48, dropout=0.0)
    trained = []
    for halved in (False, True):
        net = nets.load(folders(family), recipe=recipe, form=form)
        before = {name: tensor.clone() for name, tensor in net.encoder.state_dict().items()}
        masters = nets.adapt(net, recipe.lora, 1, halved=halved)
        torch.manual_seed(0)
        head = kind_of("pair", texts=net.texts).head(net.encoder, data("pair"), 0.0)
        fit(net, [Objective(data("pair"), examples("pair", 16), "en", head, 1)], recipe, 1, device="cpu", budget=512, log=print)
        assert bool(masters) == halved and len({p.dtype for p in net.encoder.parameters()}) == 1 + halved
        nets.merge(net, masters)
        trained.append({**net.encoder.state_dict(), **{f"head.{name}": p for name, p in head.state_dict().items()}})
    for name, whole in trained[0].items():
        assert torch.equal(trained[1][name], whole) and whole.dtype == torch.float32, name
    assert any(not torch.equal(trained[1][name], tensor) for name, tensor in before.items())


def test_low_rank_adaptation_holds_no_gradients_or_moments_of_frozen_weights(folders):
    net = nets.load(folders("qwen3"))
    nets.adapt(net, Lora(rank=4), 1)
    trained = sum(p.numel() for p in net.encoder.parameters() if p.requires_grad)
    linear = [
        m for m in net.encoder.modules() if isinstance(m, torch.nn.Linear) and m.weight.shape[0] > 4 and m.weight.shape[1] > 4
    ]
    assert trained == sum(4 * (m.in_features + m.out_features) for m in linear)


def test_the_draw_of_thin_matrices_is_the_entropy_s(folders):
    made = [nets.load(folders("qwen3")) for _ in range(3)]
    for net, entropy in zip(made, (1, 1, 2), strict=True):
        nets.adapt(net, Lora(rank=4), entropy)
    one, same, other = (torch.cat([p.flatten() for p in net.encoder.parameters() if p.requires_grad]) for net in made)
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("family", ["xlmr", "mt5", "qwen3"])
def test_training_takes_the_memory_that_is_told_of(family, folders):
    """16 bytes a weight; with thin matrices 4 for embeddings, and 2 for the weights of frozen linear maps."""
    for method, lora in (("fp32", None), ("lora", Lora(rank=1))):
        net = nets.load(folders(family))
        total = sum(p.numel() for p in net.encoder.parameters())
        halved = nets.adapt(net, lora, 1, halved=True) if lora else {}
        trained = [p for p in net.encoder.parameters() if p.requires_grad]
        optimizer = train._optimizer(trained, Recipe())
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        held = sum(p.nbytes for p in net.encoder.parameters()) + sum(p.grad.nbytes for p in trained)
        held += sum(each.nbytes for state in optimizer.state.values() for each in state.values() if each.ndim)
        linear = sum(each.numel() for each in halved.values())
        thin = 16 * sum(p.numel() for p in trained) if lora else 0
        assert held - thin == pytest.approx(training_gb(Parameters(total, linear), method) * 1e9)
