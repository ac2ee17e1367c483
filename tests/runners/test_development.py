"""What trials are judged by: development data in the source language, from a file or held out of the training data."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from editable import Editable

from xlift.registry.files import DataError
from xlift.registry.inputs import Inputs
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand
from xlift.registry.store import Store
from xlift.registry.tuning import Search
from xlift.runners import data
from xlift.runners.data.preflight import look
from xlift.runners.jobs import Env
from xlift.runners.kinds.choice import Choice
from xlift.runners.kinds.pair import Pair
from xlift.runners.kinds.span import Question
from xlift.runners.kinds.tag import Tagged
from xlift.runners.run import run

STUDY = Editable("""\
schema: xlift/1
id: tuned
question: Does it tune?
data: {source: lab, world: {languages: [al1, al2], test_items: 20, train_items: 64, sentences: 200}}
models: [{id: one, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 400}}]
pretrain: {recipe: {lr: 4e-3, steps: 10, batch: 16, max_length: 48}}
recipe: {lr: 1e-3, steps: 4, batch: 16, max_length: 48}
mixtures: {multi: {of: [lab-entail, lab-pos]}}
mlm: {share: 0.25}
tuning: {trials: 2, space: {lr: [1.0e-3, 2.0e-3]}}
matrix: {intermediate: [none, multi], variant: [plain, mlm], target: [lab-entail], seed: {count: 1, from: 1}}
""")


def planned(folder, text=STUDY):
    (folder / "study.yaml").write_text(text)
    study = load(folder / "study.yaml")
    return expand(study, Inputs(study))


@pytest.mark.parametrize("split", ["dev", "held-out"])
def test_every_task_of_a_mixture_is_scored_on_its_own_development_data(tmp_path, split):
    plan = planned(tmp_path, STUDY.replace("trials: 2", f"trials: 2, objective: {{split: {split}}}"))
    env, store = Env(tmp_path / "store", Inputs(plan.study)), Store(tmp_path / "store")
    training, judges = plan.builder.trial(Search("one", "multi", "mlm"), ("multi", "mlm"), (("lr", 2e-3),))
    assert [judge.stage.data.task for judge in judges] == ["lab-entail", "lab-pos"]  # and none of the text
    assert run(plan.steps[0], env) and run(training, env)
    for judge in judges:
        assert run(judge, env)
        (score,) = [score for score in store.scores(judge.stage.id) if score.primary]
        assert (score.language, score.data) == ("al1", judge.tests["al1"])
        assert (score.items == 20) == (split == "dev") and score.items >= 2
    with pytest.raises(DataError, match="the objective leaks"):
        run(replace(judges[0], tests={"al2": judges[0].tests["al1"]}), env)


def test_what_is_held_out_and_what_is_kept_are_the_training_data_cut_in_two(tmp_path):
    plan = planned(tmp_path, STUDY.replace("trials: 2", "trials: 2, objective: {split: held-out}"))
    training, (judge, _) = plan.builder.trial(Search("one", "multi"), ("multi", "plain"), ())
    kept, out = training.stage.data.parts[0], judge.stage.data
    sources = Inputs(plan.study)
    whole = data.read(sources, kept.model_copy(update={"split": None}), "train", "al1")
    parts = [data.read(sources, part, split, "al1") for part, split in ((kept, "train"), (out, "test"))]
    assert {mark for mark, _ in parts} == {whole[0]} == set(judge.tests.values())
    assert sorted(map(repr, whole[1])) == sorted(map(repr, parts[0][1] + parts[1][1])) and len(parts[1][1]) < len(parts[0][1]) / 4
    assert kept != training.stage.data.parts[0].model_copy(update={"split": None})  # winners train on all: another stage


def test_items_on_one_text_fall_on_one_side_and_a_tenth_is_held_out():
    def pairs(copy):
        return [Pair(f"premise {i}", f"hypothesis {copy}", "0") for i in range(3000)]

    sides = [[data.held_out(each) for each in pairs(copy)] for copy in range(2)]
    assert sides[0] == sides[1] and sum(sides[0]) == pytest.approx(300, abs=60)
    for one, other in (
        (Question("context", "who ?", ("a",), (0,), "1"), Question("context", "what ?", (), (), "2")),
        (Choice("context", "who ?", ("a", "b"), 0), Choice("context", "what ?", ("c", "d"), 1)),
        (Tagged(("a", "b"), ("X", "Y")), Tagged(("a", "b"), ("Y", "X"))),
    ):
        assert data.held_out(one) == data.held_out(other)


@pytest.mark.parametrize(
    ("dev", "code", "said"),
    [
        ("not json\n", "E501", "mine, dev in en"),
        ('{"first": "a", "second": "b", "label": "0"}\n' * 3, "E502", "the same label everywhere"),
    ],
)
def test_a_bad_file_of_development_data_is_found_before_anything_trains(tmp_path, dev, code, said):
    rows = "".join(f'{{"first": "a {i}", "second": "b", "label": "{i % 2}"}}\n' for i in range(20))
    (tmp_path / "mine").mkdir()
    for name, text in (("train.en", rows), ("test.en", rows), ("dev.en", dev), ("text.en", '{"text": "a"}\n')):
        (tmp_path / "mine" / f"{name}.jsonl").write_text(text)
    (tmp_path / "study.yaml").write_text("""\
schema: xlift/1
id: own
question: q
data: {source: local}
models: [{id: tiny, make: {layers: 1, hidden: 32, heads: 2}}]
pretrain: {corpus: text, languages: [en]}
tasks:
  mine: {kind: pair, labels: ["0", "1"], languages: [en]}
  text: {kind: mlm, files: "mine/text.{language}.jsonl"}
tuning: {trials: 2, space: {lr: [1.0e-3, 2.0e-3]}}
matrix: {intermediate: [none, mine], target: [mine], seed: {count: 1, from: 1}}
""")
    study = load(tmp_path / "study.yaml")
    sources = Inputs(study, tmp_path)
    (finding,) = look(expand(study, sources), sources)
    assert finding.code == code and said in finding.message
