import pytest

from fsr.config import Lsrna, Lua, Pixel, Rivals
from fsr.config.rows import FIXED, rival_rows
from fsr.report.names import METRICS, PERCEPTUAL, method_label, rows

BODY = {"embed": 8, "depths": [1], "heads": 2, "window": 2}


@pytest.fixture
def rivals():
    small = Lua(kind="lua", weights=None, head_width=4, **BODY)
    methods = {
        "lua_small": small,
        "lua": small.model_copy(update={"weights": "lua_flux.pth"}),
        "lsrna": Lsrna(kind="lsrna", weights=None, features=4, hidden=[8], queries=16, **BODY),
        "swinir": Pixel(kind="pixel", weights="swinir.pth", source="decoded", tile=None),
    }
    return Rivals(seeds=[], methods=methods, learning_rates=[1e-3], search_steps=1)


def test_every_row_the_study_may_have_has_a_name_and_no_other(rivals):
    known = rows(rivals)
    assert set(known) == {*FIXED, *rival_rows(rivals), "hr", "lr"}
    assert "lua_time" not in known and "unheard_of" not in known
    labels = [row.label for row in known.values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("name", "label", "kind", "trained"),
    [
        ("lua_small_steps", "LUA small, same steps", "method", True),
        ("lua_small_time", "LUA small, same time", "method", True),
        ("lua", "LUA", "method", False),
        ("lsrna_steps_matched", "LSRNA, same steps, means matched", "method", False),
        ("lsrna_time_ensemble", "LSRNA, same time, self-ensemble", "method", False),
        ("swinir", "SwinIR", "method", False),
        (
            "lsrna_time_noised",
            "LSRNA, same time with RNA noise (before re-denoising, not an output)",
            "diagnostic",
            False,
        ),
    ],
)
def test_a_rivals_row_says_its_budget_and_what_was_done_to_it(rivals, name, label, kind, trained):
    row = rows(rivals)[name]
    assert (row.label, row.kind, row.trained) == (label, kind, trained)


def test_a_diagnostic_names_what_it_varies(rivals):
    known = rows(rivals)
    assert known["fsr_euler4"].of == "fsr" and known["lsrna_time_noised"].of == "lsrna_time"
    assert all(bool(row.of) == (row.kind == "diagnostic") for row in known.values())
    assert all(row.of in known for row in known.values() if row.of)


def test_methods_are_named_and_perceptual_metrics_told_apart():
    assert [method_label(name) for name in ("fsr", "lua_small", "mine")] == ["FSR", "LUA small", "mine"]
    labels = [METRICS[name].label for name in PERCEPTUAL]
    assert len(set(labels)) == len(labels)
    assert METRICS["st_lpips"].label.startswith("ST-LPIPS")
