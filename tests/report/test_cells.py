import pandas as pd
import pytest

from fsr.report.cells import read_benchmark


def test_measured_and_absent_sets_are_told_apart_and_keep_their_order(mixed, facts, rows):
    benchmark = read_benchmark(mixed.benchmarks, ("strict", "prototype"), (2,), rows)
    assert benchmark.sets == ("SetA", facts.absent, "SetB")
    assert benchmark.unavailable == {facts.absent: facts.absent_reason}
    assert set(benchmark.measured["set"]) == {"SetA", "SetB"}
    assert (benchmark.measured["image"] != "").all()
    assert set(benchmark.under("prototype")["protocol"]) == {"prototype"}
    assert len(benchmark.under("prototype")) + len(benchmark.under("strict")) == len(benchmark.measured)


def test_every_set_is_measured_at_every_scale(twofold, facts, rows):
    benchmark = read_benchmark(twofold.benchmarks, ("strict",), (2, 4), rows)
    assert list(benchmark.measured["scale"].unique()) == [2, 4]
    assert list(benchmark.absent["scale"]) == [2, 4]
    assert benchmark.unavailable == {facts.absent: facts.absent_reason}
    without = [path for path in twofold.benchmarks if path.parent.name + path.stem != "x4SetB"]
    with pytest.raises(ValueError, match="SetB must be measured at the scales 2, 4, not 2; delete it"):
        read_benchmark(without, ("strict",), (2, 4), rows)


def test_a_study_without_any_set_says_why(mixed, facts, rows):
    with pytest.raises(ValueError, match=f"no test set is available .{facts.absent}: {facts.absent_reason[:20]}"):
        paths = [path for path in mixed.benchmarks if path.stem == facts.absent]
        read_benchmark(paths, ("strict", "prototype"), (2,), rows)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda cells: cells.rename(columns={"set": "dataset"}), "must have the columns"),
        (lambda cells: cells.assign(reason=""), "neither value nor reason"),
        (lambda cells: cells.assign(value="", reason="failed"), "a row without PSNR"),
        (lambda cells: cells.assign(metric=cells["metric"].replace("ssim", "niqe")), "metric niqe has no name"),
        (lambda cells: cells[cells["upscaler"] != "decoded_bicubic"], "needs the row decoded_bicubic"),
        (lambda cells: cells.assign(protocol="prototype"), "must hold the protocols strict, not prototype"),
        (lambda cells: cells.assign(scale="4"), "SetA must be measured at the scales 2, not 4"),
        (lambda cells: cells[:0], "must hold the protocols strict, not none"),
    ],
)
def test_a_benchmark_that_cannot_be_reported_says_what_to_do(results, rows, tmp_path, damage, message):
    path = tmp_path / "set.csv"
    damage(pd.read_csv(results.benchmarks[0], dtype=str, keep_default_na=False)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message):
        read_benchmark([path], ("strict",), (2,), rows)
