import itertools

import numpy as np
import pytest

from fsr.selection import absolute_terms, bootstrap_interval, prototype_scores, rejection, select_cut

CUTS = ("f1", "f2", "f3", "f4", "f5")
COLUMNS = (
    "rgb_l1", "hf_error", "lf_drift", "feature_l1", "fft_gap", "mean_gap", "std_gap", "sensitivity",
    "hf_energy", "fft_amplitude", "lf_contrast", "pixel_contrast", "feature_contrast",
)  # fmt: skip


def report(cut: str, seed: int, **changes) -> dict:
    source = np.random.default_rng(seed)
    return {
        "cut": cut,
        "stage": f"stage of {cut}",
        "status": "ok",
        "reason": "",
        "crops": 20,
        "per_crop": {name: source.uniform(0.1, 1.0, 20).tolist() for name in COLUMNS},
        "broken": 0,
        "relative_cost": 0.5,
        "head_ms": float(source.uniform(1, 5)),
        "tail_ms": 5.0,
        "peak_memory_gib": 1.0,
    } | changes


@pytest.fixture
def reports():
    return [report(cut, seed) for seed, cut in enumerate(CUTS)]


def order(reports, probe):
    return [item["cut"] for item in select_cut(reports, probe, 0)[0]["ranking"]]


def test_dropping_any_cuts_never_reorders_the_others(reports, params):
    """Independence of irrelevant alternatives, for every subset."""
    whole = order(reports, params.probe)
    for size in range(1, 5):
        for kept in itertools.combinations(reports, size):
            names = [item["cut"] for item in kept]
            assert order(list(kept), params.probe) == [cut for cut in whole if cut in names]


def test_the_prototypes_score_does_flip(params):
    """Its min-max normalisation lets a losing candidate choose the winner: the published f1..f5 numbers show it."""
    published = {  # HF error, FFT gap, sensitivity of the prototype's probe table; drift and time held equal
        "f1": (0.08729, 0.52488, 0.42026),
        "f2": (0.08451, 0.63098, 0.30649),
        "f3": (0.07354, 2.13634, 0.14372),
        "f4": (0.04755, 3.77468, 0.03831),
        "f5": (0.04542, 0.03181, 0.48919),
    }
    reports = {}
    for cut, (high_frequency, fft, sensitivity) in published.items():
        columns = {name: [0.5] for name in COLUMNS}
        columns |= {"hf_error": [high_frequency], "fft_gap": [fft], "sensitivity": [sensitivity]}
        reports[cut] = report(cut, 0, crops=1, per_crop=columns, head_ms=1.0)
    winners = set()
    for size in range(2, 6):
        for kept in itertools.combinations(CUTS, size):
            if {"f3", "f4"} <= set(kept):
                scores = prototype_scores({cut: reports[cut] for cut in kept})
                winners.add(scores["f3"] > scores["f4"])
    assert winners == {True, False}


def test_the_absolute_score_ignores_the_machine_and_units(reports, params):
    slower = [item | {"head_ms": 1e4, "tail_ms": 1e4, "peak_memory_gib": 99.0} for item in reports]
    assert select_cut(slower, params.probe, 0)[0] == select_cut(reports, params.probe, 0)[0]
    pixels = ("rgb_l1", "hf_error", "lf_drift", "hf_energy", "lf_contrast", "pixel_contrast", "sensitivity")
    scaled = {
        name: [value * (7.0 if name in pixels else 1.0) for value in values]
        for name, values in reports[0]["per_crop"].items()
    }
    a, b = absolute_terms(reports[0]), absolute_terms(reports[0] | {"per_crop": scaled})
    assert vars(a) == pytest.approx(vars(b))


def test_terms_are_ratios_of_sums(reports):
    columns = reports[2]["per_crop"]
    terms = absolute_terms(reports[2])
    assert terms.missing_high_frequency == pytest.approx(min(1, sum(columns["hf_error"]) / sum(columns["hf_energy"])))
    assert terms.relative_fft_gap == pytest.approx(min(1, sum(columns["fft_gap"]) / sum(columns["fft_amplitude"])))
    assert terms.relative_lf_drift == pytest.approx(sum(columns["lf_drift"]) / sum(columns["lf_contrast"]))


def test_the_interval_holds_the_score_and_repeats(reports, params):
    low, high = bootstrap_interval(reports[0], params.probe, 3)
    assert low < absolute_terms(reports[0]).score(params.probe.weights) < high
    assert (low, high) == bootstrap_interval(reports[0], params.probe, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "oom", "reason": "out of memory", "crops": 0, "per_crop": {}}, "out of memory"),
        ({"broken": 6}, "6 of 20 decodes are broken"),
    ],
)
def test_unusable_cuts_are_rejected_with_their_reason_and_stay_in_the_table(reports, params, change, reason):
    best = order(reports, params.probe)[0]
    changed = [item | change if item["cut"] == best else item for item in reports]
    selection, rows = select_cut(changed, params.probe, 0)
    assert selection["cut"] != best
    assert selection["rejected"] == {best: reason}
    assert {row["cut"]: row["reason"] for row in rows}[best] == reason


def test_a_quarter_of_broken_decodes_is_still_accepted(reports):
    assert rejection(reports[0] | {"broken": 5}) == ""


def test_a_cut_with_nothing_to_learn_is_rejected(reports):
    flat = reports[0]["per_crop"] | {"hf_error": [1e-7] * 20}
    assert "nothing to learn" in rejection(reports[0] | {"per_crop": flat})


def test_close_cuts_are_called_ambiguous_and_two_of_them_are_tried(reports, params):
    close = [reports[0] | {"cut": cut} for cut in ("f1", "f2", "f3")]
    far = reports[1] | {"relative_cost": 9.0, "cut": "f5"}
    selection = select_cut([*close, far], params.probe, 0)[0]
    assert selection["ambiguous"]
    assert selection["candidates"] == ["f1", "f2"]
    for clear in ([close[0]], [close[0], far]):
        selection = select_cut(clear, params.probe, 0)[0]
        assert not selection["ambiguous"]
        assert selection["candidates"] == ["f1"]


def test_crops_at_several_scales_count_once_and_are_drawn_together(reports, params):
    """Crops that read the same at two scales say no more than at one: the score and its interval stay."""
    twice = reports[0] | {"per_crop": {name: values * 2 for name, values in reports[0]["per_crop"].items()}}
    assert vars(absolute_terms(twice)) == pytest.approx(vars(absolute_terms(reports[0])))
    once, both = (bootstrap_interval(item, params.probe, 0) for item in (reports[0], twice))
    assert both == pytest.approx(once)
    assert select_cut([twice], params.probe, 0)[1][0]["crops"] == 20
    errors = twice["per_crop"]["hf_error"]
    apart = twice["per_crop"] | {
        "hf_error": [0.1 * value for value in errors[:20]] + [0.9 * value for value in errors[20:]]
    }
    low, high = bootstrap_interval(twice | {"per_crop": apart}, params.probe, 0)
    assert low < absolute_terms(twice | {"per_crop": apart}).score(params.probe.weights) < high


def test_when_all_are_rejected_each_reason_is_told(reports, params):
    broken = [item | {"broken": 20} for item in reports]
    with pytest.raises(ValueError, match="no cut can be chosen .*f1: 20 of 20 .*; f2: "):
        select_cut(broken, params.probe, 0)
