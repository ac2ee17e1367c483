"""A small tokenizer and a tiny XLM-R, made here in a second, for everything that would need a model."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from xlift.runners.kinds.base import Batch, Feature

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # XLM-R's first four, in its order
TEXTS = [
    "The quick brown fox jumps over the lazy dog near the river.",
    "A woman reads a book about old towns in the north.",
    "Who wrote the first letter to the king of the islands?",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "Wer schrieb den ersten Brief an den König der Inseln?",
    "Быстрая лиса прыгает через ленивую собаку.",
    "الثعلب السريع يقفز فوق الكلب الكسول",
    "敏捷的狐狸跳过懒狗。",
    "Numbers such as 1, 22, 333 and 1999 stand here too.",
]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A unigram tokenizer of about 300 pieces with XLM-R's special tokens and frames."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(TEXTS * 20, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
    )


@pytest.fixture
def encoder(tokenizer) -> nn.Module:
    """An XLM-R of 2 layers, 32 wide, with random weights that are the same in every test, and without dropout."""
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return XLMRobertaModel(config, add_pooling_layer=False).eval()


@pytest.fixture
def padded() -> Callable[[Sequence[Feature]], Batch]:
    """Features as one padded batch."""

    def build(features: Sequence[Feature]) -> Batch:
        rows = [torch.as_tensor(row) for feature in features for row in feature.sequences]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1)
        lengths = torch.tensor([len(row) for row in rows])
        return Batch(ids, torch.arange(ids.shape[1])[None] < lengths[:, None], tuple(features))

    return build


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Callable[[str], Path]:
    """A function from a family of `test_families` to a folder as transformers saves it, written once."""
    from test_families import written

    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = written(family, tmp_path_factory.mktemp(family))
        return made[family]

    return folder
