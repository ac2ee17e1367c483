import random
import re

import pytest

from xlift.registry.findings import BadInput
from xlift.registry.inputs import Inputs
from xlift.registry.manifest import conditions
from xlift.registry.manifest.conditions import BadCondition
from xlift.registry.manifest.load import load
from xlift.registry.plan import expand

PLACE = re.compile(r"\.yaml:\d+:\d+: [EW]\d{3} ")


def complaints(study, text):
    with pytest.raises(BadInput) as caught:
        study(text)
    return str(caught.value)


def test_a_number_in_exponent_form_and_the_word_no_are_read_as_yaml_1_2_says(study, manifest):
    loaded = study(manifest.replace("question: Does it grow?", "question: no"))
    assert loaded.manifest.question == "no"
    assert loaded.facts.recipes["lab-entail"].lr == 1e-3


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "code", "message", "hint"),
    [
        ("question:", "questoin:", 3, 1, "E101", "unknown key 'questoin'", "write 'question'"),
        ("recipe: {lr: 1e-3,", 'recipe: {lr: "1e-3",', 12, 14, "E118", "text where a number is wanted", "remove the quotes"),
        ("none, lab-paraphrase", "none, lab-parafrase", 16, 24, "E201", "unknown task 'lab-parafrase'", "write 'lab-paraphrase'"),
        (
            "steps: 5, max_length: 48}\ntasks",
            "stepz: 5, max_length: 48}\ntasks",
            12,
            20,
            "E101",
            "unknown key 'stepz'",
            "write 'steps'",
        ),
        (
            "lab-entail: {recipe: {batch: 16}}",
            "lab-entail: {recipe: {bacth: 16}}",
            14,
            25,
            "E101",
            "unknown key 'bacth'",
            "write 'batch'",
        ),
        ("model == 'four'", "model == 'fuor'", 20, 24, "E303", "model is never 'fuor'", "write 'four'"),
        ("model == 'four'", "model = 'four'", 20, 21, "E303", "not a condition", "write '=='"),
        ("hidden: 48", "hidden: 49", 9, 42, "E216", "hidden 49 is not a multiple of 2 heads", "write hidden: 50"),
        ("id: three", "id: two", 8, 10, "E210", "model 'two' stands twice", "give each an id"),
        ("source: lab,", "source: lap,", 4, 16, "E103", "'lap' is not one of the values of source", "write 'lab'"),
        ("test_items: 60", "test_items: -60", 4, 41, "E105", "test_items", ""),
        ("count: 2", "count: 2.5", 18, 17, "E118", "a number where a whole number is wanted", "write a whole number"),
        ("count: 2", "count: true", 18, 17, "E118", "true or false where a whole number is wanted", ""),
        ("  seed: {count: 2, from: 7}\n", "", 16, 3, "E102", "key 'seed' is missing", "add 'seed: …'"),
    ],
)
def test_a_slip_is_found_at_its_place_with_what_would_do(study, manifest, old, new, line, column, code, message, hint):
    text = complaints(study, manifest.replace(old, new))
    assert re.search(rf"study\.yaml:{line}:{column}: {code} .*{re.escape(message)}", text), text
    assert hint in text


def test_all_findings_come_in_one_pass_in_the_order_of_the_file(study, manifest):
    text = complaints(
        study,
        manifest.replace("none, lab-paraphrase", "none, x-task").replace("lab-pairs]", "y-task]").replace("id: three", "id: two"),
    )
    assert re.findall(r":(\d+):\d+: (E\d+)", text) == [("8", "E210"), ("16", "E201"), ("17", "E201")]


def test_a_slip_of_form_hides_no_slip_of_name(study, manifest):
    text = complaints(
        study,
        manifest.replace("none, lab-paraphrase", "none, x-task")
        .replace("recipe: {lr: 1e-3,", 'recipe: {lr: "1e-3",')
        .replace("bat" + "ch: 16", "bacth: 16")
        .replace("question:", "questoin:")
        .replace("hidden: 16", "hidden: 17"),
    )
    assert re.findall(r":(\d+):\d+: (E\d+)", text) == [
        ("3", "E101"),
        ("6", "E216"),
        ("12", "E118"),
        ("14", "E101"),
        ("16", "E201"),
    ]


def test_what_rests_on_a_slip_of_form_is_not_said_again(study, manifest):
    text = complaints(
        study, manifest.replace("{id: four, make", "{id: four, maek")
    )  # so there is no model 'four' for the condition
    assert re.findall(r": (E\d+)", text) == ["E101"]


def test_a_base_that_cannot_be_read_hides_nothing_of_the_manifest_itself(tmp_path):
    (tmp_path / "study.yaml").write_text("extends: [none.yaml]\nrecipe: {lr: fast}\n")
    with pytest.raises(BadInput) as caught:
        load(tmp_path / "study.yaml")
    assert [finding.code for finding in caught.value.findings] == ["E130", "E118"]


def test_a_base_that_is_named_twice_is_read_once(tmp_path, manifest):
    (tmp_path / "base0.yaml").write_text(manifest)
    for n in range(1, 31):  # 2^30 ways to the last one
        (tmp_path / f"base{n}.yaml").write_text(f"extends: [base{n - 1}.yaml, base{n - 1}.yaml]\n")
    assert load(tmp_path / "base30.yaml").id == "example"


def test_an_inherited_value_names_the_file_it_stands_in_and_who_brought_it(tmp_path, manifest):
    (tmp_path / "base.yaml").write_text("recipe: {lr: fast}\n")
    (tmp_path / "study.yaml").write_text(
        "extends: [base.yaml]\n" + manifest.replace("recipe: {lr: 1e-3, steps: 5, max_length: 48}\n", "")
    )
    with pytest.raises(BadInput) as caught:
        load(tmp_path / "study.yaml")
    assert re.search(
        r"base\.yaml:1:14: E118 text where a number is wanted\n.*\n.*\n  from .*study\.yaml:1:11 \(extends\)", str(caught.value)
    )


def test_a_later_manifest_wins_and_mappings_are_joined(tmp_path, manifest):
    (tmp_path / "base.yaml").write_text(manifest)
    (tmp_path / "study.yaml").write_text("extends: [base.yaml]\nid: other\nrecipe: {lr: 2e-3}\n")
    recipe = load(tmp_path / "study.yaml").facts.recipes["lab-pairs"]
    assert (recipe.lr, recipe.steps, recipe.epochs) == (2e-3, 5, None)


def test_a_manifest_that_extends_itself_is_refused(tmp_path, manifest):
    (tmp_path / "a.yaml").write_text("extends: [b.yaml]\n" + manifest)
    (tmp_path / "b.yaml").write_text("extends: [a.yaml]\n")
    with pytest.raises(BadInput, match="E131 .*extends itself"):
        load(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"a: [",
        b"\xff\xfe",
        b"a: \x00",
        b"- a",
        b"{" * 500,
        b"? " * 500,
        b"a: &x 1\nb: *x",
        b"a: !!python/object:os.system x",
        b"%YAML 1.1\n---\na: 1",
        b"a: 1\n---\nb: 2",
        b'a: "\\ud800"',
        b"a: " + b"9" * 5000,
        b"<<: {a: 1}",
        b"a: 1e999",
        b"\xef\xbb\xbfa: 1",
    ],
)
def test_bytes_that_are_no_manifest_get_a_place_and_no_traceback(tmp_path, data):
    path = tmp_path / "study.yaml"
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        load(path)
    assert PLACE.search(str(caught.value))


def test_mutated_manifests_load_or_get_a_place(tmp_path, manifest):
    draw, path, refused = random.Random(20261123), tmp_path / "study.yaml", 0
    for _ in range(300):
        path.write_bytes(_mutated(manifest.encode(), draw))
        try:
            loaded = load(path)
            expand(loaded, Inputs(loaded))
        except BadInput as error:
            refused += 1
            assert error.findings and PLACE.search(str(error)), error
    assert refused > 150


def _mutated(data: bytes, draw: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    match draw.randrange(6):
        case 0:
            del lines[at]
        case 1:  # misspelt
            word = list(lines[at])
            word[draw.randrange(len(word))] = draw.randrange(97, 123)
            lines[at] = bytes(word)
        case 2:  # retyped
            lines[at] = re.sub(
                rb": *[^ {\[,}\]]+",
                lambda _: draw.choice([b": []", b": true", b": x", b": 1.5", b": {}", b": ~"]),
                lines[at],
                count=1,
            )
        case 3:  # binary
            lines[at] = bytes(draw.randrange(256) for _ in range(12)) + b"\n"
        case 4:
            cut = draw.randrange(len(data))
            return data[:cut]
        case 5:
            start = draw.randrange(len(data))
            return data[:start] + draw.choice([b"[", b"}", b"'", b"&a ", b"\t", b"- ", b": ", b"#", b"|", b"!x "]) + data[start:]
    return b"".join(lines)


AXES = {"variant": frozenset({"plain", "mlm"}), "family": frozenset({"xlmr", "mt5"})}
VALUES = {"variant": "mlm", "family": "mt5", "params_total": 2e9, "params_non_embedding": 1e9, "seed": 8, "seed.index": 1}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("variant == 'mlm' and family != 'xlmr'", True),
        ("params_total > 1e10", False),
        ("seed.index >= 1 or not available('x')", True),
        ("family in ['mt5', 'xlmr']", True),
        ("not (variant == 'mlm')", False),
        ("1e9 < params_total <= 2e9", True),
    ],
)
def test_conditions_say_what_they_seem_to_say(text, truth):
    assert conditions.parse(text, AXES)(VALUES, lambda name: True) is truth


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "variant.__class__",
        "[x for x in y]",
        "lambda: 1",
        "variant == 1",
        "variant",
        "1 +",
        "family is 'mt5'",
        "variant == 'mln'",
        "f'{variant}'",
        "open('x')",
        "(" * 200,
        "seed < 'a'",
        "variant in 'mlm'",
        "x" * 600,
        "",
        "\0",
    ],
)
def test_what_is_not_in_the_condition_language_is_refused(text):
    with pytest.raises(BadCondition):
        conditions.parse(text, AXES)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("steps: 5, max_length: 48}\ntasks", "steps: 5, epochs: 2, max_length: 48}\ntasks", "E105"),  # which one counts?
        ("steps: 5, max_length: 48}\ntasks", "epochs: null, max_length: 48}\ntasks", "E105"),
        ("  exclude:", "  include: [{variant: [mlmm], why: x}]\n  exclude:", "E103"),
        ("{id: two, make: {layers: 1, hidden: 32", "{id: two, make: {layers: 1, hidden: 16", "E219"),
        ("  lab-entail: {recipe", "  lab-pairs: {trains_on: lab-entail}\n  lab-entail: {recipe", "E304"),
        ("  lab-entail: {recipe", "  lab-entail: {trains_on: lab-paraphrase, recipe", "E304"),
        ("  lab-entail: {recipe", "  mine: {kind: pair, labels: [a, b]}\n  lab-entail: {recipe", "E208"),
        *(
            (
                "source: lab, world: {test_items: 60, train_items: 200, sentences: 300}",
                f"source: local, files: '{pattern}'",
                "E207",
            )
            for pattern in ("{task}/{language}.jsonl", "{task.x}/{split}.{language}", "/etc/{split}.{language}")
        ),
        ("  lab-entail: {recipe", "  lab-pos: {files: 'x/{split}.{language}.jsonl'}\n  lab-entail: {recipe", "E208"),
        ("source: lab,", "source: lab, files: '{task}/{split}.{language}.jsonl',", "E101"),
        ("source: lab,", "source: local,", "E101"),
        ("source: lab,", "sauce: lab,", "E101"),
        ("source: lab,", "source: labs,", "E103"),
        ("matrix:", "analysis: {gain: {drop_languages: [eng]}}\nmatrix:", "E205"),
        ("matrix:", "analysis: {gain: {match: [model, target, language]}}\nmatrix:", "E404"),
        ("matrix:", "languages: [al1, al1]\nmatrix:", "E301"),
        ("matrix:", "scoring: {layer: -1}\nmatrix:", "E10"),
        ("model == 'four'", "-" * 450 + "seed == 1", "E303"),
        ("recipe: {lr: 1e-3, steps: 5, max_length: 48}", "recipe: {lr: 1e-3, steps: 5, max_length: 129}", "E305"),
        ("matrix:", "scoring: {layer: 2}\nmatrix:", "E305"),
        (
            "{id: one, make: {layers: 1, hidden: 16, heads: 2}}",
            "{id: one, make: {layers: 1, hidden: 16, heads: 2}, scoring: {layer: 2}}",
            "E305",
        ),
        ("recipe: {batch: 16}", "recipe: {stride: 16}", "E306"),
        ("recipe: {batch: 16}", "includes: [lab-ential]", "E201"),
        ("matrix:", "analysis: {min_models: 3}\nmatrix:", "E105"),
        ("matrix:", "published: [{target: xnli, model: one, score: 70, languages: 2, source: x}]\nmatrix:", "E209"),
    ],
)
def test_what_would_run_and_mean_something_else_is_refused(study, manifest, old, new, code):
    assert code in complaints(study, manifest.replace(old, new))


def test_a_condition_may_name_what_only_an_include_brings_in(study, manifest):
    rules = "  include: [{intermediate: [lab-entail], target: [lab-pairs], why: x}]\n  exclude:\n    - {when: \"intermediate == 'lab-entail' and model == 'one'\", why: y}\n"
    loaded = study(manifest.replace("  exclude:\n", rules))
    assert expand(loaded, Inputs(loaded)).excluded["y"] == 2


def test_a_layer_beyond_one_model_is_fine_where_that_model_has_its_own(study, manifest):
    text = manifest.replace("hidden: 16, heads: 2}", "hidden: 16, heads: 2}, scoring: {layer: 1}").replace(
        "hidden: 32, heads: 2}", "hidden: 32, heads: 2}, scoring: {layer: 1}"
    )
    assert study(text.replace("matrix:", "scoring: {layer: 2}\nmatrix:"))


def test_the_same_manifest_has_the_same_ids_in_every_process(tmp_path, manifest):
    """Sets of names have another order in every process; ids must not depend on it."""
    import subprocess
    import sys

    (tmp_path / "study.yaml").write_text(manifest)
    code = (
        "from pathlib import Path; from xlift.registry.manifest.load import load; from xlift.registry.plan import expand; from xlift.registry.inputs import Inputs\n"
        f"study = load(Path({str(tmp_path / 'study.yaml')!r})); print([s.stage.id for s in expand(study, Inputs(study)).steps])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": str(n)}
        ).stdout
        for n in range(3)
    }
    assert len(seen) == 1


def test_an_edit_of_a_manifest_that_finds_nothing_fails(manifest):
    with pytest.raises(AssertionError, match="nothing to edit: 'epochs'"):
        manifest.replace("epochs", "steps")


DECODER = "  - {id: qwen, hub: Qwen/Qwen3-0.6B-Base, revision: abcdef0123456789abcdef0123456789abcdef01}\n"


@pytest.mark.parametrize(
    ("variant", "rule", "refused"),
    [
        ("  variant: [plain, mlm]\n", "", True),
        ("  variant: [plain, mlm]\n", "    - {when: \"family == 'qwen3' and variant == 'mlm'\", why: a decoder}\n", False),
        ("  variant: [plain, mlm]\n", "    - {when: \"family == 'qwen3' and target == 'lab-pairs'\", why: half}\n", True),
        ("", "", False),
    ],
)
def test_a_decoder_goes_on_with_no_masked_language_modelling(study, manifest, variant, rule, refused):
    text = manifest.replace("pretrain:", DECODER + "pretrain:", 1).replace("  seed: {count", variant + "  seed: {count")
    if refused:
        assert "E222" in complaints(study, text + rule)
    else:
        assert study(text + rule).facts.models["qwen"].model_type == "qwen3"


def test_a_model_made_here_is_not_pretrained_by_low_rank_adaptation(study, manifest):
    assert "E226" in complaints(study, manifest.replace("recipe: {lr: 3e-3, steps: 5", "recipe: {lora: {}, lr: 3e-3, steps: 5"))
