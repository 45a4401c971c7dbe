import numpy as np
import pandas as pd
import pytest

from fsr.config import Params
from fsr.report.chapters.cuts import cuts_chapter, groups, orders
from fsr.report.columns import Column
from fsr.report.names import rows
from fsr.sections import validated
from fsr.selection import PROTOTYPE_WEIGHTS, min_max_scores

IMAGES = ("a", "b")
PSNR = {"feature_bicubic": 20.0, "feature_bicubic_f2": 15.0, "feature_bicubic_f3": 18.0, "fsr": 24.0,
        "fsr_two_steps": 19.0, "fsr_three_steps": 22.5, "fsr_three_time": 30.0}  # fmt: skip


@pytest.fixture
def params(values):
    field = {"kind": "fsr", "field": {"patch": 1}, "losses": {}}
    methods = {
        "fsr_two": field | {"cut": "f2", "group": "one size"},
        "fsr_three": field | {"cut": "f3", "group": "one size"},
        "fsr_alone": field | {"cut": "best", "group": ""},
    }
    names = ["feature_bicubic", "feature_bicubic_f2", "feature_bicubic_f3", "decoded_bicubic", "fsr", "fsr_two_steps",
             "fsr_three_steps", "fsr_alone_steps", "vae_roundtrip"]  # fmt: skip
    rivals = values["rivals"] | {"methods": methods}
    benchmark = values["benchmark"] | {"upscalers": names}
    report = values["report"] | {"gallery": ["feature_bicubic", "fsr"]}
    changes = {"rivals": rivals, "benchmark": benchmark, "report": report}
    return validated(Params, values | changes, "params")


def column(set_name: str, shift: float) -> Column:
    names = tuple(PSNR)
    numbers = np.array([[PSNR[name] + shift, PSNR[name] + shift + 1] for name in names])
    return Column(("strict", 2, set_name, "x_H_rec"), "psnr", names, IMAGES, numbers, ("",) * len(names))


def probed(**changes) -> pd.DataFrame:
    measured = {name: [0.1, 0.2, 0.3, 0.4, 0.5] for name in PROTOTYPE_WEIGHTS if name != "runtime"}
    told = {
        "cut": [f"f{number}" for number in range(1, 6)],
        "status": ["ok"] * 5,
        "score": [0.1, 0.2, 0.3, 0.4, 0.35],
        "prototype_score": [0.5, 0.4, 0.3, 0.2, 0.1],
        "head_ms": [1.0] * 5,
        "tail_ms": [5.0, 4.0, 3.0, 2.0, 1.0],
    }
    return pd.DataFrame(told | measured | changes)


RUNTIME = pd.DataFrame(
    [(2, 64, "latent", "fsr", "total", 11.0), (2, 128, "latent", "fsr", "total", 41.0)],
    columns=["scale", "side", "entry", "upscaler", "stage", "milliseconds"],
)


def test_a_group_holds_its_fields_in_the_order_of_cuts_and_the_study_s_own_for_its_cut(params):
    assert groups(params, "f4") == {"one size": {"fsr_two_steps": "f2", "fsr_three_steps": "f3", "fsr": "f4"}}
    timed = params.benchmark.model_copy(
        update={"upscalers": [*params.benchmark.upscalers, "fsr_three_time", "fsr_three_steps_ensemble"]}
    )
    assert groups(params.model_copy(update={"benchmark": timed}), "f4") == groups(params, "f4"), "equal steps only"
    assert groups(params, "f3") == {"one size": {"fsr_two_steps": "f2", "fsr_three_steps": "f3"}}


def test_gains_are_over_feature_bicubic_at_the_field_s_own_cut(params):
    chapter = cuts_chapter(params, [column("A", 0), column("B", 2)], "f4", probed(), RUNTIME, rows(params.rivals))
    gains = chapter.frame.set_index(["cut", "set"])["gain"]
    assert gains.to_dict() == {("f2", "A"): 4, ("f2", "B"): 4, ("f3", "A"): 4.5, ("f3", "B"): 4.5, ("f4", "A"): 4,
                               ("f4", "B"): 4}  # fmt: skip
    sheet = chapter.sheets[0]
    two, three, four = sheet.rows
    assert [cell.text for cell in four] == ["f4", "FSR one-step", "24.50", "26.50", "25.50", "41", "0.400", "0.200"]
    assert four[4].bold and not three[4].bold and two[5].text == "–"


def test_the_rank_correlation_is_of_scores_with_what_fields_came_to(params):
    chapter = cuts_chapter(params, [column("A", 0)], "f4", probed(), RUNTIME, rows(params.rivals))
    absolute, prototype = chapter.sheets[1].rows
    assert [cell.text for cell in absolute] == ["absolute", "one size", "×2", "3", "+1.00"]
    assert prototype[-1].text == "−1.00"


def test_without_fields_at_other_cuts_there_is_a_sentence(params):
    none = params.model_copy(update={"rivals": params.rivals.model_copy(update={"methods": {}})})
    none = none.model_copy(
        update={"benchmark": params.benchmark.model_copy(update={"upscalers": ["feature_bicubic", "fsr"]})}
    )
    assert "were measured at several cuts" in cuts_chapter(none, [column("A", 0)], "f4", probed(), RUNTIME, {}).text


def test_only_a_score_relative_to_the_candidates_changes_its_mind_when_one_is_left_out():
    """Two cuts that differ in one measure each: which one weighs more hangs on a third's extremes."""
    measures = dict.fromkeys(("fft_gap", "lf_drift"), [0.0] * 5)
    higher, sensitive = [0.0, 0.8, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 3.0, 0.0]
    probe = probed(hf_error=higher, sensitivity=sensitive, tail_ms=[1.0] * 5, **measures)
    found = dict(orders(probe))
    assert found[()]["prototype_score"][:2] == ["f3", "f2"] and found[("f4",)]["prototype_score"][:2] == ["f2", "f3"]
    absolute = ["f4", "f5", "f3", "f2", "f1"]
    assert all(order["score"] == [cut for cut in absolute if cut not in out] for out, order in found.items())
    assert len(found) == 1 + 5 + 10


def test_the_prototype_s_scores_are_those_of_the_means(tmp_path):
    means = {"f1": dict.fromkeys(PROTOTYPE_WEIGHTS, 0.0), "f2": dict.fromkeys(PROTOTYPE_WEIGHTS, 1.0)}
    assert min_max_scores(means) == {"f1": 0.0, "f2": pytest.approx(sum(PROTOTYPE_WEIGHTS.values()))}
