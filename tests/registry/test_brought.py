"""Texts that somebody brings are regular files of a size that memory holds, whichever way they come in."""

import os
import time

import pytest

from xlift.registry import files, profile, weights
from xlift.registry.findings import BadInput, similar
from xlift.registry.manifest import load
from xlift.registry.manifest.lock import lock_path, read_lock

STUDY = """\
schema: xlift/1
id: own
question: Is it bounded?
data: {source: lab}
models: [{id: one, MODEL}]
matrix: {intermediate: [none], target: [lab-pos], seed: {count: 1, from: 1}}
"""


def endless(path):
    path.symlink_to("/dev/zero")


def pipe(path):
    os.mkfifo(path)


def folder(path):
    path.mkdir()


def large(path):
    with open(path, "wb") as file:
        file.truncate(files.SMALL + 1)


def manifest(at):
    load.load(at / "brought.yaml")


def extended(at):
    (at / "study.yaml").write_text("schema: xlift/1\nextends: [brought.yaml]\n")
    load.load(at / "study.yaml")


def locked(at):
    (at / "brought.yaml").rename(lock_path(at / "study.yaml"))
    read_lock(at / "study.yaml", "own")


def configured(at):
    (at / "model").mkdir()
    (at / "brought.yaml").rename(at / "model" / "config.json")
    (at / "study.yaml").write_text(STUDY.replace("MODEL", "family: ours, folder: model"))
    load.load(at / "study.yaml")


def cluster(at):
    profile.read(at / "brought.yaml")


def index(at):
    weights._index(at / "brought.yaml")


@pytest.mark.parametrize("way", [manifest, extended, locked, configured, cluster, index])
@pytest.mark.parametrize("made", [endless, pipe, folder, large])
def test_what_has_no_end_or_is_no_file_is_refused_at_once(tmp_path, made, way):
    made(tmp_path / "brought.yaml")
    begun = time.monotonic()
    with pytest.raises((BadInput, weights.WeightsError)) as caught:
        way(tmp_path)
    said = "".join(finding.message for finding in getattr(caught.value, "findings", ())) or str(caught.value)
    assert {endless: "no file", pipe: "no file", folder: "is a directory", large: "larger than 64"}[made] in said.lower()
    assert time.monotonic() - begun < 20


def test_a_name_in_other_letters_is_the_nearest():
    assert similar("h100", ["H100", "V100"]) == "write 'H100'"
