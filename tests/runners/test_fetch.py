"""From the hub to files of tasks: every task's rule in its data set's own layout, what is verified, and what goes wrong on the way."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import test_pieces
import torch
from safetensors.torch import load_file
from test_families import written
from test_model_folder import sharded

from xlift.registry.known.hub import HUB
from xlift.registry.known.tasks import TASKS
from xlift.registry.sources.local import LocalFiles
from xlift.registry.stage import Data
from xlift.runners.data import local
from xlift.runners.fetch import locked
from xlift.runners.kinds import kind_of

from . import published
from .hub import Hub

FILES = "{task}/{split}.{language}.jsonl"
STUDY = """\
schema: xlift/1
id: fetched
question: From the hub to a score?
data: {source: local}
languages: [en, de, sw]
models: [{id: tiny, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 120, positions: 64}}]
pretrain: {corpus: words, languages: [en], recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 32}}
recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 48}
tasks: {words: {kind: mlm, files: "words.{language}.jsonl"}}
matrix: {intermediate: [none, qqp], target: [xnli], seed: {count: 1, from: 1}}
"""


SINGLE = tuple(task for task in HUB if not TASKS[task].languages)  # intermediate tasks, fetched by name
WIDE = tuple(task for task in HUB if TASKS[task].languages)  # fetched by a study of all of them, in some languages
LANGUAGES = ("en", "de", "et", "ko", "sw", "zh")
BROAD = f"""\
schema: xlift/1
id: broad
question: All targets of the hub?
data: {{source: local}}
languages: [{", ".join(LANGUAGES)}]
models: [{{id: tiny, make: {{layers: 1, hidden: 16, heads: 2}}}}]
pretrain: {{corpus: words, languages: [en]}}
tasks: {{words: {{kind: mlm, files: "words.{{language}}.jsonl"}}}}
tuning: {{roles: [target], space: {{lr: [0.1]}}, trials: 1}}
matrix: {{intermediate: [none, sick], target: [{", ".join(WIDE)}], seed: {{count: 1, from: 1}}}}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    published.publish(folder, HUB, LANGUAGES)
    return folder


def xlift(*arguments: object, hub: Hub, folder: Path, cache: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= hub.environment(cache or folder / "cache") | {"OMP_NUM_THREADS": "1"} | more
    command = [sys.executable, "-m", "xlift", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def examples(folder: Path, task: str, split: str, language: str):
    known = TASKS[task]
    data = Data(source="local", kind=known.kind, task=task, labels=known.labels, fields=known.fields)
    return local.read(LocalFiles(folder, FILES, {}), data, split, language)[1]


@pytest.fixture(scope="module")
def everything(root, tmp_path_factory):
    """All tasks of the hub, those with tests by a study that tunes, so that development data are wanted too."""
    folder = tmp_path_factory.mktemp("all")
    (folder / "broad.yaml").write_text(BROAD)
    with Hub(root).open() as hub:
        yield folder, xlift("data", "fetch", *SINGLE, "broad.yaml", "--data", "data", hub=hub, folder=folder), hub


def locks(folder: Path) -> dict[str, locked.Made]:
    return {
        made.file: made
        for path in (folder / "data" / "data.lock.yaml", folder / "broad.data.lock.yaml")
        for made in locked.read(path).files
    }


def test_every_task_of_the_hub_becomes_files_that_its_kind_reads(everything):
    folder, done, _ = everything
    assert done.returncode == 0, done.stderr
    assert "where 392,702 were known of" in done.stderr  # of the small repositories here: a number is told, and stops nothing
    assert "sick, train in en: it is not known where it is" in done.stderr and "words, train in en" in done.stderr
    made = locks(folder)
    for task, known in HUB.items():
        for split in known.splits:
            if split == "dev" and TASKS[task].trains_on != task:
                continue  # nobody is judged by it
            wanted = {*TASKS[task].languages} & {*LANGUAGES} if split == "test" else {"en"}
            assert {each.language for each in made.values() if (each.task, each.split) == (task, split)} == wanted - {
                *known.without.get(split, ())
            }
            for language in wanted - {*known.without.get(split, ())}:
                found = examples(folder / "data", task, split, language)
                kind_of(TASKS[task].kind).example.check(found, scored=True)
                about = made[f"{task}/{split}.{language}.jsonl"]
                assert about.rows == len(found) > 19 and len(about.sources[0].commit) == 40 and about.licence
    assert len(done.stdout.splitlines()) == len(made) + 2


def test_rules_repair_drop_and_choose_as_they_say(everything):
    folder, _, _ = everything
    lock = locks(folder)
    anli = lock["anli/train.en.jsonl"]  # three rounds, MNLI, and SNLI without the items that have no label
    assert anli.rows == 5 * 24 - 2 and anli.dropped == {"no label": 2} and len(anli.sources) == 5
    for task, split in (("squad1", "train"), ("xquad", "test"), ("tydiqa", "train")):  # answers moved back to where they stand
        language = "en" if split == "train" else "de"
        assert lock[f"{task}/{split}.{language}.jsonl"].repaired > 5
        for question in examples(folder / "data", task, split, language):
            assert all(question.context[at:].startswith(text) for text, at in zip(question.answers, question.starts, strict=True))
    assert {e.context.split()[0] for e in examples(folder / "data", "tydiqa", "test", "ko")} == {"ko"}
    assert all(e.id.startswith("english-") for e in examples(folder / "data", "tydiqa", "train", "en"))
    pairs = examples(folder / "data", "tatoeba", "test", "zh")
    assert not any("\n" in e.foreign + e.pivot for e in pairs) and pairs[0].foreign.startswith("zh")
    tagged = examples(folder / "data", "panx", "test", "sw")[1]
    assert tagged.tags == ("O", "B-PER", "I-PER", "O") and not any(token != token.strip() for token in tagged.tokens)
    assert {e.question for e in examples(folder / "data", "xcopa", "test", "et")} == {
        "What was the cause?",
        "What happened as a result?",
    }
    assert "xcopa/test.en.jsonl" not in lock  # whose labels are hidden


def test_what_is_there_is_not_fetched_again_and_verified_without_a_network(everything, tmp_path):
    folder, _, hub = everything
    hub.asked.clear()
    again = xlift("data", "fetch", *SINGLE, "broad.yaml", "--data", "data", hub=hub, folder=folder)
    assert again.stdout.count("0 files made") == 2 and not hub.asked
    here = tmp_path / "copy"
    shutil.copytree(folder / "data", here / "data")
    nowhere = Hub(tmp_path, address="http://127.0.0.1:9")
    done = xlift("data", "verify", "--data", "data", hub=nowhere, folder=here)
    assert done.returncode == 0 and "16 files are as data/data.lock.yaml has them" in done.stdout
    (here / "data" / "mnli" / "dev.en.jsonl").write_text("{}")
    (here / "data" / "qqp" / "dev.en.jsonl").unlink()
    done = xlift("data", "verify", "--data", "data", hub=nowhere, folder=here)
    assert done.returncode == 1 and "mnli/dev.en.jsonl is not what was fetched" in done.stdout
    assert "qqp/dev.en.jsonl is not there" in done.stdout
    mended = xlift(
        "data", "fetch", "mnli", "qqp", "--data", "data", hub=nowhere, folder=here, cache=folder / "cache", HF_HUB_OFFLINE="1"
    )
    assert mended.returncode == 0 and "2 files made" in mended.stdout, mended.stderr  # of the lock and the cache alone
    assert "mnli/dev.en.jsonl was changed since it was fetched" in mended.stderr  # and is not lost
    assert (here / "data" / "mnli" / "dev.en.jsonl.changed").read_text() == "{}"
    assert xlift("data", "verify", "--data", "data", hub=nowhere, folder=here).returncode == 0


FAULTS = {  # what is done to the hub, and what is said
    "flip": "the hub names other bytes",
    "cut": "validation_matched",
    "no commit": "the hub has no such commit",
    "gated": "accept its terms on the hub's page of nyu-mll/glue",
    "gone": "the hub has no such repository",
    "a shard": "of the 3 shards of mnli, validation_matched there are 2",
    "no Parquet": "it holds a script, which is not run",
    "other labels": "has the labels yes, no, maybe, and mnli has entailment, neutral, contradiction",
    "no names": "does not name the labels of label",
    "a column": "has no column premise",
    "offline": "the hub is not reached",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_with_its_place_and_leaves_nothing_half_written(fault, tmp_path):
    root = tmp_path / "hub"
    published.publish(root, ["mnli"], ["en"], shards=3 if fault == "a shard" else 1)
    repository = root / "datasets" / "nyu-mll" / "glue"
    (folder,) = [path for path in repository.iterdir() if path.is_dir()]
    file = next((folder / "mnli").glob("validation_matched-*"))
    hub, more = Hub(root), {}
    if fault in ("flip", "cut"):
        hub.faults["validation_matched-00000-of-00001.parquet"] = fault
    elif fault == "no commit":
        folder.rename(repository / ("e" * 40))
    elif fault == "gated":
        hub.gated["nyu-mll/glue"] = "hf_secret"
    elif fault == "gone":
        shutil.rmtree(repository)
    elif fault == "a shard":
        file.unlink()
    elif fault == "no Parquet":
        shutil.rmtree(folder / "mnli")
        (folder / "glue.py").write_text("raise SystemExit('code ran')")
    elif fault == "offline":
        more = {"HF_HUB_OFFLINE": "1"}
    elif fault in ("other labels", "no names", "a column"):
        table = pq.read_table(file)
        names = {"label": published.classes("yes", "no", "maybe")} if fault == "other labels" else {}
        table = table.rename_columns({"premise": "first"}) if fault == "a column" else table
        told = {b"huggingface": json.dumps({"info": {"features": names}}).encode()}
        pq.write_table(table.replace_schema_metadata(told if fault != "a column" else table.schema.metadata), file)
    with hub.open():
        done = xlift("data", "fetch", "mnli", "--data", "data", hub=hub, folder=tmp_path, HF_TOKEN="hf_other", **more)
    assert done.returncode == 2 and FAULTS[fault] in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert "hf_other" not in done.stderr + done.stdout
    whole = fault in ("flip", "cut", "other labels", "no names", "a column")  # of one file, which leaves the other to be made
    assert ("1 files made" in done.stdout) == whole or fault == "a shard"
    left = [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(".") or "dev" in name]


def test_a_token_opens_what_is_gated_and_stands_nowhere(tmp_path):
    published.publish(tmp_path / "hub", ["mnli"], ["en"])
    hub = Hub(tmp_path / "hub", gated={"nyu-mll/glue": "hf_secret"}, faults={"validation_matched-00000-of-00001.parquet": "once"})
    with hub.open():  # of which one file comes wrong the first time, and is asked for again
        done = xlift("data", "fetch", "mnli", "--data", "data", hub=hub, folder=tmp_path, HF_TOKEN="hf_secret")
    assert done.returncode == 0 and "2 files made" in done.stdout, done.stderr
    assert "hf_secret" not in done.stdout + done.stderr
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and "hf_secret" in path.read_text()]


def test_what_somebody_brought_is_left_as_it_is(tmp_path):
    published.publish(tmp_path / "hub", ["mnli"], ["en"])
    own = tmp_path / "data" / "mnli" / "train.en.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with Hub(tmp_path / "hub").open() as hub:
        done = xlift("data", "fetch", "mnli", "bucc", "ccg", "--data", "data", hub=hub, folder=tmp_path)
        wrong = xlift("data", "fetch", "mnly", "--data", "data", hub=hub, folder=tmp_path)
    assert own.read_text() == "mine" and "mnli/train.en.jsonl was there and is in no lock" in done.stderr
    assert "1 files made" in done.stdout and "xlift data bucc FOLDER" in done.stderr and "licence: bring CCGbank" in done.stderr
    assert wrong.returncode == 2 and "write 'mnli'" in wrong.stderr


def test_from_the_hub_to_a_scored_study(root, tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "data").mkdir()
    words = [json.dumps({"text": published.sentence("en", n, 12)}) for n in range(30)]
    (tmp_path / "data" / "words.en.jsonl").write_text("\n".join(words))
    with Hub(root, page=40).open() as hub:

        def ran(*arguments: str, status: int = 0) -> str:
            done = xlift(*arguments, hub=hub, folder=tmp_path)
            assert done.returncode == status, done.stderr + done.stdout
            return done.stdout + done.stderr

        assert "no data: give --data DIR" in ran("plan", "study.yaml", status=1)
        made = ran("data", "fetch", "study.yaml", "--data", "data")
        assert "5 files made" in made and "study.data.lock.yaml" in made
        asked = list(hub.asked)
    assert not [path for path in asked if "resolve" in path and "ar/" in path]  # what the study does not test
    assert "study.yaml: ok" in ran("check", "study.yaml", "--data", "data")
    assert "0 blocked" in ran("plan", "study.yaml", "--data", "data")
    ran("run", "study.yaml", "--data", "data", "--device", "cpu")
    gains = ran("gains", "study.yaml", "--data", "data", "--format", "csv").splitlines()
    assert len([line for line in gains if ",xnli," in line]) == 2  # in German and Swahili
    assert "5 files are as study.data.lock.yaml has them" in ran("data", "verify", "study.yaml", "--data", "data")


WIKI = "e" * 40
CORPUS = """\
schema: xlift/1
id: texts
question: Are texts fetched?
data: {source: local}
languages: [de]
models: [{id: tiny, make: {layers: 1, hidden: 16, heads: 2, vocabulary: 200, positions: 64}}]
pretrain: {corpus: words, languages: [en, de, sw], recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 32}}
tasks: {words: {kind: mlm, hub: {dataset: wiki/pedia, revision: pin, config: "2023.{language}", column: body, rows: 5}}}
matrix: {intermediate: [none], target: [tatoeba], seed: {count: 1, from: 1}}
"""


def test_the_first_texts_of_each_language_come_of_as_few_files_as_hold_them(tmp_path):
    repository = tmp_path / "hub" / "datasets" / "wiki" / "pedia"
    for language in ("en", "de"):
        folder = repository / WIKI / f"2023.{language}"
        folder.mkdir(parents=True)
        for shard in range(3):
            rows = [{"title": "t", "body": "" if n == 1 else f"{language} {shard} {n}"} for n in range(4)]
            pq.write_table(pa.Table.from_pylist(rows), folder / f"train-{shard:05d}-of-00003.parquet")
    (repository / "refs.json").write_text(json.dumps({"main": WIKI}))
    (tmp_path / "study.yaml").write_text(CORPUS)
    (tmp_path / "data" / "tatoeba").mkdir(parents=True)
    (tmp_path / "data" / "tatoeba" / "test.de.jsonl").write_text('{"source": "eins", "english": "one"}\n' * 3)
    with Hub(tmp_path / "hub").open() as hub:
        done = xlift("data", "fetch", "study.yaml", "--data", "data", hub=hub, folder=tmp_path)
        assert done.returncode == 2 and "has no Parquet of 2023.sw, train" in done.stderr  # and the others are made
        assert f"{WIKI}  wiki/pedia" in done.stdout and f"revision: {WIKI}" in (tmp_path / "study.yaml").read_text()
        texts = [json.loads(line)["text"] for line in (tmp_path / "data" / "words" / "train.de.jsonl").read_text().splitlines()]
        assert texts == ["de 0 0", "de 0 2", "de 0 3", "de 1 0", "de 1 2"]
        made = locked.read(tmp_path / "study.data.lock.yaml").by_file["words/train.de.jsonl"]
        assert [source.path[-22:-8] for source in made.sources] == ["00000-of-00003", "00001-of-00003"]
        assert made.dropped == {"no text": 2} and made.rows == 5 and "wiki/pedia" in made.licence
        assert not [path for path in hub.asked if "00002-of-00003" in path]
        fewer = (tmp_path / "study.yaml").read_text().replace("rows: 5", "rows: 2").replace("de, sw", "de")
        (tmp_path / "study.yaml").write_text(fewer)
        done = xlift("data", "fetch", "study.yaml", "--data", "data", hub=hub, folder=tmp_path)
        assert done.returncode == 0 and "2 files made, 0 there already" in done.stdout, done.stderr
        assert len((tmp_path / "data" / "words" / "train.de.jsonl").read_text().splitlines()) == 2
        done = xlift("data", "fetch", "study.yaml", "--data", "data", hub=hub, folder=tmp_path)
        assert "0 files made, 2 there already" in done.stdout
    (tmp_path / "study.yaml").write_text(
        fewer.replace("tatoeba]", "tatoeba, xnli]").replace(
            "words: {", "xnli: {hub: {dataset: a, revision: pin, rows: 2}}, words: {"
        )
    )
    done = xlift("check", "study.yaml", hub=hub, folder=tmp_path)
    assert done.returncode == 2 and "E203 kind pair is no text" in done.stdout
    (tmp_path / "study.yaml").write_text(fewer.replace("2023.{language}", "2023.de"))
    done = xlift("check", "study.yaml", hub=hub, folder=tmp_path)
    assert done.returncode == 2 and "would give 2 languages the same text" in done.stdout


PIN = "d" * 40
MODELS = """\
schema: xlift/1
id: weighed
question: Are weights fetched once?
data: {source: local}
languages: [de]
models:
  - {id: one, family: f, hub: tiny/one, folder: models/one, revision: pin}
  - {id: two, family: f, hub: tiny/two, folder: models/two, revision: "REVISION"}
recipe: {lr: 1e-3, steps: 2, batch: 8, max_length: 32}
matrix: {intermediate: [none], target: [pawsx], seed: {count: 1, from: 1}}
"""


def served(root: Path, name: str, form: str) -> Path:
    """A model on the hub: whole, in shards, as a pickle, or with SentencePiece's file alone; with files that nobody reads."""
    folder = root / "models" / "tiny" / name / PIN
    written("xlmr", folder, intermediate_size=40 + len(name + form))  # no two of one size
    if form == "shards":
        sharded(folder)
        for at, path in enumerate(sorted(folder.glob("weights_*"))):  # as the hub's are called
            path.rename(folder / f"model-{at + 1:05}-of-00002.safetensors")
        index = folder / "model.safetensors.index.json"
        told = index.read_text().replace("weights_0", "model-00001-of-00002").replace("weights_1", "model-00002-of-00002")
        index.write_text(told)
    elif form == "pickle":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    elif form == "pieces":
        test_pieces.published("xlmr", folder)
    for other in ("README.md", "flax_model.msgpack", "modeling_own.py"):
        (folder / other).write_text("nobody reads this")
    (folder.parent / "refs.json").write_text(json.dumps({"main": PIN}))
    return folder


@pytest.mark.parametrize("form", ["whole", "shards", "pickle", "pieces"])
def test_weights_are_fetched_once_and_runs_read_the_folder(form, root, tmp_path):
    kept = tmp_path / "hub"
    shutil.copytree(root / "datasets" / "google-research-datasets", kept / "datasets" / "google-research-datasets")
    served(kept, "one", form)
    served(kept, "two", "whole")
    (tmp_path / "study.yaml").write_text(MODELS.replace("REVISION", PIN))
    hub = Hub(kept, faults={"model.safetensors": "once"})  # the first of them comes wrong

    def ran(*arguments: str, status: int = 0, **more: str) -> str:
        done = xlift(*arguments, hub=hub, folder=tmp_path, **more)
        assert done.returncode == status, done.stderr + done.stdout
        return done.stdout + done.stderr

    with hub.open():
        said = ran("models", "fetch", "study.yaml")
        assert f"{PIN}  tiny/one" in said and "2 models fetched, 0 there already" in said
        assert ran("data", "fetch", "study.yaml", "--data", "data")
        asked = [path.rpartition("/")[2] for path in hub.asked if "/tiny/" in path]
    assert not {"README.md", "flax_model.msgpack", "modeling_own.py"} & {*asked}
    assert MODELS.replace("REVISION", PIN).replace("revision: pin", f"revision: {PIN}") == (tmp_path / "study.yaml").read_text()
    own = {path.name for path in (tmp_path / "models" / "one").iterdir()}
    assert own >= {"config.json", "tokenizer.json"} and not [
        name for name in own if name.endswith(".bin") or name.startswith(".")
    ]
    assert not [path for path in (tmp_path / "models").iterdir() if path.name.startswith(".")]
    assert "study.yaml: ok" in ran("check", "study.yaml", "--data", "data")
    assert ran("run", "study.yaml", "--data", "data", "--device", "cpu", HF_HUB_OFFLINE="1")  # the hub is gone
    assert "0 run" in ran("plan", "study.yaml", "--data", "data")
    assert "2 models are as study.data.lock.yaml has them" in ran("data", "verify", "study.yaml")
    again = ran("models", "fetch", "study.yaml")  # nothing is asked for
    assert "0 models fetched, 2 there already" in again
    (file, *_) = (tmp_path / "models" / "one").glob("tokenizer.json" if form == "pieces" else "model*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert "tiny/one: " in ran("data", "verify", "study.yaml", status=1)


def test_an_interrupted_fetch_of_weights_goes_on_and_a_folder_is_whole_or_not_there(tmp_path):
    served(tmp_path / "hub", "one", "shards")
    served(tmp_path / "hub", "two", "whole")
    (tmp_path / "study.yaml").write_text(MODELS.replace("REVISION", PIN))
    hub = Hub(tmp_path / "hub", faults={"model-00002-of-00002.safetensors": "flip"})
    with hub.open():
        done = xlift("models", "fetch", "study.yaml", hub=hub, folder=tmp_path)
        assert done.returncode == 2 and "the hub names other bytes" in done.stderr and not (tmp_path / "models" / "one").exists()
        assert "1 models fetched" in done.stdout and "1 of 2 models were not fetched" in done.stderr  # the other one was
        hub.faults.clear()
        hub.asked.clear()
        done = xlift("models", "fetch", "study.yaml", hub=hub, folder=tmp_path)
        assert done.returncode == 0 and "1 models fetched, 1 there already" in done.stdout, done.stderr
        assert not [path for path in hub.asked if path.endswith("model-00001-of-00002.safetensors")]  # which was whole


def test_weights_of_a_model_that_is_known_go_below_the_folder_of_models_and_have_its_size(tmp_path):
    """Toys under a known name: they are fetched, and said to be of another size than the study would be told of."""
    hub_name, below = "FacebookAI/xlm-roberta-base", tmp_path / "hub" / "models" / "FacebookAI" / "xlm-roberta-base"
    written("xlmr", below / PIN)
    (below / "refs.json").write_text(json.dumps({"main": PIN}))
    text = MODELS.replace("family: f, hub: tiny/one, folder: models/one", f"hub: {hub_name}")
    (tmp_path / "study.yaml").write_text("".join(line for line in text.splitlines(keepends=True) if "tiny/two" not in line))
    with Hub(tmp_path / "hub").open() as hub:
        nowhere = xlift("models", "fetch", "study.yaml", hub=hub, folder=tmp_path)
        done = xlift("models", "fetch", "study.yaml", "--models", "weights", hub=hub, folder=tmp_path)
    assert nowhere.returncode == 2 and "give --models DIR" in nowhere.stderr
    assert done.returncode == 2 and "parameters by its configuration, and" in done.stderr and "name its folder" in done.stderr
    assert (tmp_path / "weights" / hub_name.replace("/", "--") / PIN[:12] / "config.json").is_file()


def test_what_a_repository_lacks_is_said_with_what_would_do(tmp_path):
    folder = served(tmp_path / "hub", "one", "whole")
    (folder / "tokenizer.json").unlink()
    (tmp_path / "study.yaml").write_text(MODELS.replace("REVISION", PIN))
    with Hub(tmp_path / "hub").open() as hub:
        done = xlift("models", "fetch", "study.yaml", hub=hub, folder=tmp_path)
        assert done.returncode == 2 and "has no tokenizer.json" in done.stderr and "name the folder beside hub" in done.stderr
        done = xlift("data", "verify", "study.yaml", hub=hub, folder=tmp_path)
        assert done.returncode == 2 and "xlift data fetch writes it" in done.stderr
