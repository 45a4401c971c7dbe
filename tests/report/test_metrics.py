import json

import pytest

from fsr.report.metrics import write_metrics

PRIMARY = """protocol,scale,set,target,upscaler,metric,images,mean,low,high,reason,best
strict,2,Set5,x_H_rec,fsr,psnr,5,30.5,30,31,,True
strict,2,Set5,x_H_rec,fsr,lpips_alex,5,,,,no weights,False
strict,4,Set5,x_H_rec,vae_roundtrip,psnr,5,inf,,,,False
strict,4,Set5,x_H_rec,vae_roundtrip,ssim,5,1.0,,,,False
"""
LOG = "step,loss,validation_psnr,validation_rgb_l1,validation_margin\n1,0.5,20.0,0.1,\n2,0.4,21.5,0.05,\n3,0.3,,,\n"


@pytest.mark.parametrize(
    ("log", "validation"),
    [
        (LOG, {"validation_psnr": 21.5, "validation_rgb_l1": 0.05}),
        ("step,loss,validation_psnr\n1,0.5,\n", {}),
    ],
)
def test_numbers_that_are_there_and_no_others(tmp_path, log, validation):
    (tmp_path / "primary.csv").write_text(PRIMARY)
    (tmp_path / "log.csv").write_text(log)
    write_metrics(tmp_path / "primary.csv", tmp_path / "log.csv", tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "train": validation,
        "strict": {"x2": {"Set5": {"fsr": {"psnr": 30.5}}}, "x4": {"Set5": {"vae_roundtrip": {"ssim": 1.0}}}},
    }
