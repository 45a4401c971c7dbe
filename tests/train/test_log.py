import json
import math

import pytest

from fsr.train.log import Log


def test_a_row_holds_means_of_the_steps_that_told_and_the_last_rate():
    log = Log()
    log.add({"lr": 1.0, "loss": 2.0, "rgb": 8.0, "skipped": 0})
    log.add({"lr": 0.5, "loss": math.nan, "skipped": 1})
    log.add({"lr": 0.25, "loss": 4.0, "skipped": 1})
    assert log.write_row(3, {"validation_psnr": 30.0}) == {
        "step": 3, "lr": 0.25, "loss": 3.0, "rgb": 8.0, "skipped": 1, "validation_psnr": 30.0,
    }  # fmt: skip
    log.add({"lr": 0.1, "loss": 9.0, "skipped": 1})
    assert log.write_row(4, {}) == {"step": 4, "lr": 0.1, "loss": 9.0, "skipped": 1}
    assert [row["step"] for row in log.rows] == [3, 4]


@pytest.mark.parametrize("stop", range(7))
def test_its_state_goes_through_json_and_on_to_the_bit(stop):
    told = [{"lr": 0.1 * i, "loss": 1 / (i + 3), "skipped": 0} for i in range(7)]
    whole, parted = Log(), Log()
    for i, values in enumerate(told):
        if i == stop:
            parted = Log(**json.loads(json.dumps(parted.state())))
        for log in (whole, parted):
            log.add(values)
            if i % 3 == 2:
                log.write_row(i, {})
    assert whole.state() == parted.state()
