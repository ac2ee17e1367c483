"""SentencePiece's own file, which mT5's repositories have alone, to tokenizer.json: the same pieces of every text."""

import io
import json
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from test_families import WORDS, written

from xlift.registry import weights
from xlift.registry.findings import UserError
from xlift.runners import convert, nets

MT5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
FAMILY = {"mt5": ("spiece.model", MT5), "xlmr": ("sentencepiece.bpe.model", {})}
TEXTS = [
    " ".join(WORDS),
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "Быстрая лиса прыгает через ленивую собаку.",
    "الثعلب السريع يقفز فوق الكلب الكسول",
    "敏捷的狐狸跳过懒狗。",
    "Numbers such as 1, 22, 333 and 1999 stand here too.",
]
STRANGE = [
    "  two  spaces ", "½ ﬁne Ⅳ ｆｕｌｌ", "日本語の文。", "ไทยไม่มีช่องว่าง", "ا‌ب", "👍🏽 ok", "a\u00a0b", "don't—stop", "123.456,7", "é e\u0301", "UNSEEN ☃ signs",
]  # fmt: skip


def published(family: str, folder: Path, **sizes: int) -> SentencePieceProcessor:
    """A model's folder as the hub has it, with SentencePiece's file and no tokenizer.json."""
    written(family, folder, vocab_size=120, **sizes)
    (folder / "tokenizer.json").unlink()
    if family == "mt5":  # as its repositories have it: the marks of T5's own pretraining are pieces of the file
        own = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0, "additional_special_tokens": None}
        (folder / "tokenizer_config.json").write_text(json.dumps(own))
    name, ids = FAMILY[family]
    made = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=made, vocab_size=112, model_type="unigram", minloglevel=2, **ids
    )
    (folder / name).write_bytes(made.getvalue())
    return SentencePieceProcessor(model_proto=made.getvalue())


@pytest.mark.parametrize("family", FAMILY)
def test_every_text_has_the_pieces_that_sentencepiece_gives_it(family, tmp_path):
    known = published(family, tmp_path)
    with pytest.raises(UserError, match=r"no tokenizer\.json") as caught:
        weights.opened(tmp_path)
    assert "xlift models convert" in str(caught.value.hint)
    made = convert.convert(tmp_path)  # its weights are safetensors already, and stay as they are
    assert set(made) == {FAMILY[family][0], weights.TOKENIZER}
    tokenizer = nets.read_tokenizer(tmp_path)
    for text in TEXTS + STRANGE:
        pieces = known.encode(text, out_type=str)
        wanted = ["<unk>" if known.is_unknown(known.piece_to_id(piece)) else piece for piece in pieces]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == wanted, text
    before, after = (["<s>"], ["</s>"]) if family == "xlmr" else ([], ["</s>"])
    ids = tokenizer("fox")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == before + tokenizer.tokenize("fox") + after
    if family == "mt5":  # the ids of the file itself: the embeddings' rows
        assert ids == known.encode("fox") + [1]
    with pytest.raises(UserError, match="safetensors already"):
        convert.convert(tmp_path)


@pytest.mark.parametrize("how", ["cut", "text", "another"])
def test_what_makes_no_tokenizer_is_refused_and_leaves_nothing(how, tmp_path, monkeypatch):
    known = published("mt5", tmp_path)
    path = tmp_path / "spiece.model"
    if how == "another":  # a class that splits texts in its own way, as some version of transformers might
        monkeypatch.setattr(known.__class__, "encode", lambda self, text, out_type=str: ["x"])
    else:
        path.write_bytes(path.read_bytes()[:700] if how == "cut" else b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match="splits .* otherwise" if how == "another" else "no tokenizer can be made of it"):
        convert.convert(tmp_path)
    assert not (tmp_path / weights.TOKENIZER).exists() and not list(tmp_path.glob(".*"))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "mt5"
