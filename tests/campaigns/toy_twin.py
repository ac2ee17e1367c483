"""A twin of experiments/scaling-1b-10b.yaml, from two empty folders to a report: its tasks, five toy models, a hub on loopback.

Its models are three of XLM-R's family (safetensors, a pickle, shards of pickles) and two of mT5's (SentencePiece's file alone);
one seed, 200 rows a split, four languages, two trials. BUCC and UDPOS come from archives in their published layout, and the hub
is gone once everything is fetched. Nothing may be blocked but what trains on CCGbank.

python tests/campaigns/toy_twin.py FOLDER    # about half an hour on two cores; again: goes on where it was
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "runners"))

import published
import test_pieces
from hub import Hub
from test_families import WORDS, written

from xlift.registry.known.hub import HUB
from xlift.registry.known.tasks import TASKS

LANGUAGES = ("de", "ru", "sw", "zh")
COMMIT = "d" * 40
ROWS = 240  # of each split on the hub, of which 200 are drawn
MODELS = {"xlmr-s": ("xlmr", 48), "xlmr-m": ("xlmr", 96), "xlmr-l": ("xlmr", 160), "mt5-s": ("mt5", 48), "mt5-m": ("mt5", 96)}


def serve_models(root: Path) -> None:
    """Whole, as one pickle, as two; and with SentencePiece's file in place of a tokenizer.json."""
    for name, (family, inner) in MODELS.items():
        folder = root / "models" / "toy" / name / COMMIT
        size = {"d_ff": inner} if family == "mt5" else {"intermediate_size": inner}
        if family == "mt5":
            test_pieces.published(family, folder, **size)
        else:
            written(family, folder, **size)
        if name in ("xlmr-m", "xlmr-l"):
            state = load_file(folder / "model.safetensors")
            (folder / "model.safetensors").unlink()
            if name == "xlmr-m":
                torch.save(state, folder / "pytorch_model.bin")
            else:
                halves = sorted(state)[::2], sorted(state)[1::2]
                for at, half in enumerate(halves, 1):
                    torch.save({key: state[key] for key in half}, folder / f"pytorch_model-{at:05}-of-00002.bin")
        (folder.parent / "refs.json").write_text(json.dumps({"main": COMMIT}))


def sentence(rng: Random, language: str) -> list[str]:
    return [f"{rng.choice(WORDS)}{language if rng.random() < 0.3 else ''}" for _ in range(rng.randint(4, 9))]


def archives(folder: Path) -> None:
    """Universal Dependencies 2.5 and BUCC 2018, as they are unpacked; and text, a file a language."""
    rng, tags = Random(1), TASKS["udpos"].labels
    for language in ("en", *LANGUAGES):
        for split in ("train", "dev", "test"):
            path = folder / "ud-treebanks-v2.5" / f"UD_{language}" / f"{language}_toy-ud-{split}.conllu"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = []
            for _ in range(ROWS):
                for at, word in enumerate(sentence(rng, language), 1):
                    lines.append(
                        "\t".join([str(at), word, word, tags[len(word) % len(tags)], "_", "_", str(at - 1), "dep", "_", "_"])
                    )
                lines.append("")
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for language in ("de", "ru", "zh", "fr"):
        below = folder / "bucc2018" / f"{language}-en"
        below.mkdir(parents=True, exist_ok=True)
        for part in ("sample", "training"):
            for side in (language, "en"):
                rows = [f"{side}-{at:09}\t{' '.join(sentence(rng, side))}" for at in range(60)]
                (below / f"{language}-en.{part}.{side}").write_text("\n".join(rows) + "\n", encoding="utf-8")
            gold = [f"{language}-{at:09}\ten-{at + 7:09}" for at in range(20)]
            (below / f"{language}-en.{part}.gold").write_text("\n".join(gold) + "\n")


def texts(data: Path, languages: list[str]) -> None:
    rng = Random(2)
    (data / "texts").mkdir(parents=True, exist_ok=True)
    for language in languages:
        rows = [json.dumps({"text": " ".join(sentence(rng, language))}, ensure_ascii=False) for _ in range(ROWS)]
        (data / "texts" / f"{language}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def twin(path: Path) -> None:
    """The committed study with toy models, fewer rows, languages, seeds and trials; all else as it is."""
    study = YAML(typ="safe").load((ROOT / "experiments" / "scaling-1b-10b.yaml").read_text(encoding="utf-8"))
    study["id"] = "toy-twin"
    study["data"]["limit"] = {"train": 200, "test": 200}
    study["languages"] = ["en", *LANGUAGES]
    study["models"] = [
        {"id": name, "family": family, "hub": f"toy/{name}", "folder": f"models/{name}", "revision": "pin"}
        for name, (family, _) in MODELS.items()
    ]
    study["recipe"] |= {"max_length": 64, "lora": {"rank": 4, "alpha": 8}}
    study["scoring"] |= {"max_length": 64}
    study["tuning"]["trials"] = 2
    study["matrix"]["seed"] = {"count": 1, "from": 1}
    study["mlm"]["languages"] = ["en", *LANGUAGES]
    YAML().dump(study, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    usual = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}

    def xlift(*arguments: str, **environment: str) -> str:
        begun = time.monotonic()
        command = [sys.executable, "-m", "xlift", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=usual | {"OMP_NUM_THREADS": "1"} | environment, stdout=subprocess.PIPE, text=True
        )
        print(f"{time.monotonic() - begun:>7.0f} s  xlift {' '.join(arguments)}", flush=True)
        if done.returncode:
            raise SystemExit(done.stdout)
        return done.stdout

    if not (folder / "twin.yaml").exists():
        published.publish(folder / "hub", HUB, ("en", *LANGUAGES), count=ROWS)
        serve_models(folder / "hub")
        archives(folder / "archives")
        texts(folder / "data", ["en", *LANGUAGES])
        twin(folder / "twin.yaml")
    gone = {"HF_HUB_OFFLINE": "1", "XLIFT_MLFLOW": "no"}
    if not (folder / "fetched").exists():
        with Hub(folder / "hub").open() as hub:
            reached = hub.environment(folder / "cache")
            xlift("models", "fetch", "twin.yaml", **reached)
            xlift("data", "fetch", "twin.yaml", "--data", "data", **reached)
        xlift("data", "udpos", "archives/ud-treebanks-v2.5", "--data", "data", **gone)
        xlift("data", "bucc", "archives", "--data", "data", **gone)
        (folder / "fetched").touch()
    xlift("data", "verify", "twin.yaml", "--data", "data", **gone)
    xlift("check", "twin.yaml", "--data", "data", **gone)
    xlift("tune", "twin.yaml", "--data", "data", "--workers", "2", "--device", "cpu", **gone)
    print(xlift("plan", "twin.yaml", "--data", "data", **gone))
    xlift("run", "twin.yaml", "--data", "data", "--workers", "2", "--device", "cpu", "--release", **gone)
    plan = json.loads(xlift("plan", "twin.yaml", "--data", "data", "--json", **gone))
    blocked = [stage for stage in plan["stages"] if stage["state"] == "blocked"]
    other = [stage for stage in blocked if "CCGbank" not in json.dumps(stage)]
    unfinished = [stage for stage in plan["stages"] if stage["state"] not in ("finished", "blocked")]
    xlift("report", "twin.yaml", "--data", "data", "--out", "report", **gone)
    print(
        f"{len(plan['stages'])} stages, {len(blocked)} of them blocked, {len(other)} of these not by CCGbank, {len(unfinished)} unfinished"
    )
    if other or unfinished:
        raise SystemExit(json.dumps([*other, *unfinished][:5], indent=1))


if __name__ == "__main__":
    main()
