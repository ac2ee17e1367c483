"""Universal Dependencies in their published layout, made into UDPOS as XTREME prepares it."""

import json
import random

import pytest

from xlift.registry.findings import UserError
from xlift.registry.known.tasks import TASKS
from xlift.registry.sources.local import LocalFiles
from xlift.registry.stage import Data
from xlift.runners.data import local
from xlift.runners.data.udpos import ORDER, USUAL, Sentence, convert


def row(id, form="_", tag="_", head="_", enhanced="_"):
    return "\t".join([str(id), form, form.lower(), tag, "_", "_", str(head), "dep", enhanced, "_"])


GREEK = [
    "# text = Στο σπίτι μένει.",
    row("1-2", "Στο"),
    row(1, "Σ", "ADP", 3),  # both below the noun: the order of tags chooses, and has ADP before DET
    row(2, "το", "DET", 3),
    row(3, "σπίτι", "NOUN", 4),
    row(4, "μένει", "VERB", 0),
    row("4.1", "_", "VERB"),
    row(5, ".", "PUNCT", 4),
    "",
]
SPANISH = [
    row(1, "Quiero", "VERB", 0),
    row("2-4", "dármelo"),
    row(2, "dar", "VERB", 1),  # which governs the others
    row(3, "me", "PRON", 2),
    row(4, "lo", "PRON", 2),
    "",
    row(1, "mil\u200c ‌2", "NUM", 0),
    row(2, "10 000", "NUM", 1),
    "",
]
HIDDEN = [row(1, "_", "NOUN", 0), row(2, "_", "VERB", 1), row(3, "_", "X", 1), ""]


def treebank(folder, name, lines):
    path = folder / "ud-treebanks-v2.5" / f"UD_{name.split('-')[0]}" / f"{name}.conllu"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_language_is_the_beginning_of_a_file_s_name_and_its_treebanks_are_one(tmp_path):
    treebank(tmp_path, "el_gdt-ud-test", GREEK)
    treebank(tmp_path, "grc_proiel-ud-test", GREEK * 9)  # Ancient Greek, which the hub's copy took for Greek
    treebank(tmp_path, "es_ancora-ud-test", SPANISH)
    treebank(tmp_path, "es_gsd-ud-test", GREEK)
    treebank(tmp_path, "es_gsd-ud-train", GREEK)
    treebank(tmp_path, "sv_talbanken-ud-test", GREEK)  # no language of UDPOS
    treebank(tmp_path, "ar_nyuad-ud-test", HIDDEN)
    made = convert(tmp_path / "ud-treebanks-v2.5", tmp_path / "data")
    assert {path.name: count for path, count in made.items()} == {"test.el.jsonl": 1, "test.es.jsonl": 3, "train.es.jsonl": 1}
    (greek,) = read(tmp_path / "data" / "udpos" / "test.el.jsonl")
    assert greek == {"tokens": ["Στο", "σπίτι", "μένει", "."], "tags": ["ADP", "NOUN", "VERB", "PUNCT"]}
    spanish = read(tmp_path / "data" / "udpos" / "test.es.jsonl")
    assert spanish[0] == {"tokens": ["Quiero", "dármelo"], "tags": ["VERB", "VERB"]}
    assert spanish[1]["tokens"] == ["mil2", "10000"]
    data = Data(source="local", kind="tag", task="udpos", labels=TASKS["udpos"].labels, fields=TASKS["udpos"].fields)
    pattern = "{task}/{split}.{language}.jsonl"
    assert len(local.read(LocalFiles(tmp_path / "data", pattern, {}), data, "test", "es")[1]) == 3


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([row("one", "a", "X", 0), ""], ":1: 'one' is no number of a word"),
        (["1\ta\tX", ""], ":1: 3 columns, where CoNLL-U has 10"),
        ([row(1, "a", "NOVEL", 0), ""], "has the tag NOVEL"),
    ],
)
def test_what_is_no_treebank_is_said_with_its_line_and_nothing_is_written(tmp_path, lines, said):
    treebank(tmp_path, "de_gsd-ud-test", GREEK)
    treebank(tmp_path, "el_gdt-ud-test", lines)
    with pytest.raises(UserError, match=said):
        convert(tmp_path, tmp_path / "data")
    with pytest.raises(UserError, match="nor another treebank of UDPOS"):
        convert(tmp_path / "nothing", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_random_sentences_keep_their_words_and_the_tag_of_what_governs():
    """However words are fused: as many words as are written, each with the tag of one of its parts, the highest of them."""
    rng = random.Random(7)
    for _ in range(300):
        count = rng.randint(2, 9)
        heads = {1: 0} | {n: rng.randint(1, n - 1) for n in range(2, count + 1)}
        sentence = Sentence()
        for n, head in heads.items():
            sentence.forms[n], sentence.tags[n] = f"w{n}", rng.choice(USUAL)
            sentence.above[n] |= {head}
        first = rng.randint(1, count - 1)
        last = rng.randint(first + 1, count)
        sentence.fused.append((first, last, "fused"))
        words, tags = sentence.words(rng.choice([USUAL, *ORDER.values()]))
        assert words == [f"w{n}" for n in range(1, first)] + ["fused"] + [f"w{n}" for n in range(last + 1, count + 1)]

        def depth(n, heads=heads):
            return 0 if n == 0 else 1 + depth(heads[n])

        span = range(first, last + 1)
        highest = [n for n in span if depth(n) == min(map(depth, span))]
        assert tags[first - 1] in {sentence.tags[n] for n in highest} and len(tags) == len(words)
