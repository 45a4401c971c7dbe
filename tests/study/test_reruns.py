"""What the finished study holds, and what a changed parameter makes Snakemake run again."""

import csv

from commands import AFTER_ROWS, AFTER_TRAINING, change, jobs, planned, snakemake


def test_it_leaves_everything_a_reader_needs(made):
    report = made / "results/tiny/report"
    assert (report / "index.html").stat().st_size > 10_000
    rows = list(csv.DictReader((report / "tables/benchmark.csv").open()))
    assert {row["upscaler"] for row in rows} >= {"bicubic", "feature_bicubic", "fsr", "vae_roundtrip"}
    logs = list((made / "results/tiny/logs").rglob("*.benchmark.tsv"))
    assert len(logs) == 23, "each job leaves what it took"


def test_a_key_of_train_reruns_training_and_what_follows(copied):
    change(copied, lambda values: values["train"].update(lr=0.002))
    assert planned(copied) == {"train_field", *AFTER_TRAINING}
    change(copied, lambda values: values["train"].update(batch=1))
    assert planned(copied) == {"train_field", *AFTER_TRAINING}


def test_a_key_of_a_rival_trains_it_alone(copied):
    change(copied, lambda values: values["rivals"]["methods"]["lua"].update(head_width=8))
    assert planned(copied) == AFTER_TRAINING
    counts = jobs(copied)
    assert (counts["search_rate"], counts["train_rival"]) == (1, 1)


def test_a_key_of_probes_weights_measures_nothing_again(copied):
    change(copied, lambda values: values["probe"]["weights"].update(cost=0.1))
    assert planned(copied) == {"select_cut", "train_field", *AFTER_TRAINING}


def test_a_key_of_latents_is_seen_beside_a_new_test_set(copied):
    """Which alone encodes nothing again: both are behind the check for leakage."""
    change(copied, lambda values: values["data"].update(test=["Embedded5"]))
    assert not planned(copied) & {"define_crops", "encode_shard", "train_field"}
    change(copied, lambda values: values["latents"].update(crops=10))
    assert planned(copied) >= {"define_crops", "encode_shard", "encode", "train_field"}


def test_a_method_that_is_not_measured_is_not_trained(copied):
    rows = ["bicubic", "decoded_bicubic", "feature_bicubic", "fsr", "vae_roundtrip"]
    change(copied, lambda values: values["benchmark"].update(upscalers=rows))
    assert planned(copied) == {"list_rivals", "measure_runtime", *AFTER_ROWS}


def test_an_ablation_is_planned_on_request_alone(copied):
    assert planned(copied, "ablation") == {"time_variants", "train_variant", "tabulate_variants", "ablation"}


def test_a_new_test_set_trains_nothing_and_one_that_cannot_be_had_is_named_in_the_tables(copied):
    change(copied, lambda values: values["data"].update(test=["EmbeddedTiny", "Manga109"], optional=["Manga109"]))
    assert planned(copied) == {"dataset", "list_sets", "leakage", "accept_leakage", *AFTER_ROWS}
    snakemake(copied, "all")
    report = copied / "results/tiny/report"
    for text in ((report / "tables/benchmark.md").read_text(), (report / "index.html").read_text()):
        assert "Manga109: not available (dataset Manga109 is not at hand and is never fetched: Ask its authors" in text
    assert planned(copied) == set()
