"""Universal Dependencies as they are published become UDPOS as XTREME prepares it (Hu et al. 2020): `xlift data udpos`.

Version 2.5's archive has a folder a treebank, with files such as `el_gdt-ud-test.conllu`. As XTREME's scripts do: a language is
the beginning of a file's name (so that Ancient Greek, `grc`, is none of Greek), all its treebanks make one file a split; words
that were written together stand as they were written, with the tag of the one that governs the others, and where several do, of
that which comes first in an order of tags; words lose blanks and zero-width non-joiners; sentences whose words are not published
(`_`) are left out.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xlift.registry.files import write_atomically
from xlift.registry.findings import UserError
from xlift.registry.known.tasks import TASKS

NAME = re.compile(r"^([a-z]{2})_[a-z]+-ud-(train|dev|test)\.conllu$")
ENGLISH = 21_253  # sentences of the English training set of version 2.5
ORDER = {  # of tags of words that govern equally, where a language has one of its own (ud-conversion-tools, as XTREME calls them)
    "es": "VERB AUX PRON ADP DET".split(),
    "fr": "VERB AUX PRON NOUN ADJ ADV ADP DET PART SCONJ CONJ".split(),
    "it": "VERB AUX ADV PRON ADP DET INTJ".split(),
}
USUAL = "VERB NOUN PROPN PRON ADJ NUM ADV INTJ AUX ADP DET PART CCONJ SCONJ X PUNCT".split()


@dataclass
class Sentence:
    """Words by their numbers, what governs each, and what is written together."""

    forms: dict[int, str] = field(default_factory=dict)
    tags: dict[int, str] = field(default_factory=dict)
    above: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))  # heads, enhanced ones too
    fused: list[tuple[int, int, str]] = field(default_factory=list)  # first and last word, form

    def words(self, order: Sequence[str]) -> tuple[list[str], list[str]]:
        """Words as they are written, and their tags."""
        forms, tags = dict(self.forms), dict(self.tags)
        for first, last, form in self.fused:
            span = range(first, last + 1)
            own = self._governs([number for number in span if number in forms], order)
            forms[own] = form
            for number in span:
                if number != own:
                    forms.pop(number, None)
                    tags.pop(number, None)
        whole = sorted(forms)
        return ["".join(forms[number].replace("\u200c", "").split()) for number in whole], [tags[number] for number in whole]

    def _governs(self, span: Sequence[int], order: Sequence[str]) -> int:
        """The word with the fewest above it; of several that whose tag comes first."""
        heights = {number: len(self._ancestors(number)) for number in span}
        highest = [number for number in span if heights[number] == min(heights.values())]
        ranks = {tag: rank for rank, tag in enumerate(order)}
        return min(highest, key=lambda number: (ranks.get(self.tags[number], len(ranks)), number))

    def _ancestors(self, number: int) -> set[int]:
        found, waiting = set[int](), list(self.above[number])
        while waiting:
            head = waiting.pop()
            if head not in found:
                found.add(head)
                waiting += self.above.get(head, ())
        return found - {number}


def convert(published: Path, data: Path) -> dict[Path, int]:
    """Write `data`/udpos/<split>.<language>.jsonl of what lies anywhere below `published`; sentences by file.

    Raises:
        UserError: there is no treebank of a language of UDPOS, or a line is not what it should be; then nothing is written.
    """
    files: Mapping[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(published.rglob("*.conllu"), key=lambda path: path.name):
        name = NAME.match(path.name)
        if name and name[1] in TASKS["udpos"].languages:
            files[name[2], name[1]].append(path)
    if not files:
        raise UserError(f"{published}: no el_gdt-ud-test.conllu, nor another treebank of UDPOS", "unpack its archive there")
    found = {
        data / "udpos" / f"{split}.{language}.jsonl": [line for path in paths for line in _lines(path, language)]
        for (split, language), paths in sorted(files.items())
    }
    for path, lines in found.items():
        if lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, "".join(lines).encode())
    return {path: len(lines) for path, lines in found.items() if lines}


def _lines(path: Path, language: str) -> Iterator[str]:
    known = {*TASKS["udpos"].labels}
    for number, sentence in _sentences(path):
        words, tags = sentence.words(ORDER.get(language, USUAL))
        hidden = sum(word == "_" for word in words)
        if hidden and hidden >= len(words) - 1:
            continue
        if wrong := next((tag for tag in tags if tag not in known), None):
            raise UserError(f"{path}:{number}: the sentence that ends here has the tag {wrong}", "unpack the archive again")
        yield json.dumps({"tokens": words, "tags": tags}, ensure_ascii=False) + "\n"


def _sentences(path: Path) -> Iterator[tuple[int, Sentence]]:
    """Each with the number of the line that it ends at."""
    sentence, number = Sentence(), 0
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            if sentence.forms:
                yield number, sentence
            sentence = Sentence()
        elif not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) != 10:
                raise UserError(f"{path}:{number}: {len(cells)} columns, where CoNLL-U has 10", "unpack the archive again")
            _add(sentence, cells, f"{path}:{number}")
    if sentence.forms:
        yield number, sentence


def _add(sentence: Sentence, cells: Sequence[str], place: str) -> None:
    id, form, tag, head, enhanced = cells[0], cells[1], cells[3], cells[6], cells[8]
    try:
        if "-" in id:
            first, last = map(int, id.split("-"))
            sentence.fused.append((first, last, form))
        elif "." not in id:  # an empty node of the enhanced graph is no word
            number = int(id)
            sentence.forms[number], sentence.tags[number] = form, tag
            heads = [head, *(pair.split(":")[0] for pair in enhanced.split("|") if pair != "_")]
            sentence.above[number] |= {int(each) for each in heads if each.isdigit()}
    except ValueError:
        raise UserError(f"{place}: '{id}' is no number of a word", "unpack the archive again") from None
