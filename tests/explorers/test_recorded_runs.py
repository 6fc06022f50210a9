import pytest

from megalodon_edu.explorers.recorded_runs import recorded_runs
from megalodon_edu.recordings import recording

RUNS = recorded_runs()
COMPARISON, ABLATIONS, RATES = "Megalodon against the Transformer", "one part changed at a time", "learning rates tried"


def test_every_run_that_was_scored_is_offered_once():
    for name in ("comparison", "ablations"):
        folder = recording(name).folder
        logs = {path.stem for path in folder.glob("*.csv") if not path.stem.startswith("speed-")}
        offered = [COMPARISON, RATES] if name == "comparison" else [ABLATIONS]
        assert sum(len(RUNS[title].logs) for title in offered) == len(logs)


def test_variants_are_told_apart_in_all_collections_together():
    variants = [variant for one in RUNS.values() for variant in dict.fromkeys(one.variants.values())]
    assert len(set(variants)) == len(variants)
    for one in RUNS.values():
        assert list(one.logs) == list(one.variants) and all(one.logs.values())


def test_the_models_that_ship_are_there_with_what_they_ran_on():
    models = next(iter(RUNS.values()))
    assert list(models.logs) == ["bookworm", "librarian", "tiny_cpu"]
    for name in models.logs:
        about = recording(name).about
        assert f"{name}: {about['parameters'] / 1e6:.2f} million parameters" in models.note
        assert about["environment"]["device"] in models.note


def test_seeds_are_grouped_and_the_last_look_is_near_the_score_of_their_study():
    about = recording("comparison").about
    for label, rows in RUNS[COMPARISON].logs.items():
        model, seed = label.split(", seed ")
        assert RUNS[COMPARISON].variants[label] == model
        score = about["models"][model.lower()]["bits_per_byte"]["seeds"][seed]
        assert rows[-1].validation_bits_per_byte == pytest.approx(score, abs=0.05)


def test_the_seconds_of_the_comparison_are_bytes_at_the_speed_measured_alone():
    speed = recording("comparison").about["speed"]
    last = {label: rows[-1] for label, rows in RUNS[COMPARISON].logs.items()}
    for label, row in last.items():
        model = label.split(",")[0].lower()
        assert row.seconds == pytest.approx(row.tokens / speed[model]["compiled"])


def test_an_ablation_has_the_seeds_that_were_recorded():
    about = recording("ablations").about["variants"]
    found = {variant: list(RUNS[ABLATIONS].variants.values()).count(variant) for variant in about}
    scored = {name: len(one["bits_per_byte"]["seeds"]) + len(one["diverged"]) for name, one in about.items()}
    assert found == scored


def test_the_runs_beside_librarian_end_near_their_scores():
    beside = RUNS["librarian beside a Transformer"]
    names = ("librarian", "librarian_transformer", "librarian_decay")
    for name, (label, rows) in zip(names, beside.logs.items(), strict=True):
        about = recording(name).about
        assert f"{label} {about['parameters'] / 1e6:.2f}" in beside.note
        assert rows[-1].step == about["steps"]
        looks = [row.validation_bits_per_byte for row in rows if row.validation_bits_per_byte is not None]
        assert looks[-1] == pytest.approx(about["validation"]["bits_per_byte"], abs=0.1)
