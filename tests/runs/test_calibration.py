"""The small file of a run's temperatures: kept by the step of the weights, and refused by name when it is broken."""

import json

import pytest

from wbcjax.runs.calibration import PLAIN, TTA, Temperatures, note_temperature, temperatures


def test_a_temperature_is_kept_for_the_weights_and_the_way_it_was_fitted_for(tmp_path, caplog):
    assert temperatures(tmp_path, 10) == (1.0, 1.0)
    note_temperature(tmp_path, 10, PLAIN, 1.5, "80 crops of val")
    note_temperature(tmp_path, 10, TTA, 0.75, "80 crops of val")
    note_temperature(tmp_path, 20, TTA, 2.0, "90 crops of val")
    assert temperatures(tmp_path, 10) == Temperatures(plain=1.5, tta=0.75)
    assert temperatures(tmp_path, 20) == Temperatures(plain=1.0, tta=2.0)
    assert not caplog.text
    note_temperature(tmp_path, 10, PLAIN, 1.25, "81 crops of val")
    assert json.loads((tmp_path / "calibration.json").read_text())["10"] == {
        "plain": {"temperature": 1.25, "fitted_on": "81 crops of val"},
        "tta": {"temperature": 0.75, "fitted_on": "80 crops of val"},
    }


def test_weights_of_another_step_are_not_calibrated_and_it_is_said(tmp_path, caplog):
    note_temperature(tmp_path, 10, PLAIN, 1.5, "80 crops of val")
    assert temperatures(tmp_path, 30) == (1.0, 1.0)
    assert "calibration.json is for the weights of step 10, not of step 30: scores are not calibrated" in caplog.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "broken"),
        ("[1]", "broken"),
        ('{"10": 3}', "broken"),
        ('{"10": {"plain": {}}}', "no temperature of calibration"),
        ('{"10": {"plain": {"temperature": "hot"}}}', "no temperature of calibration"),
        ('{"10": {"both": {"temperature": 1}}}', "no temperature of calibration"),
        ('{"10": {"plain": {"temperature": -1}}}', "the temperature -1.0 is none, which is a number above 0"),
        ('{"10": {"tta": {"temperature": NaN}}}', "the temperature nan is none"),
    ],
)
def test_a_broken_file_is_refused_by_name_with_the_remedy(tmp_path, text, told):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(ValueError, match=rf"calibration\.json: {told}.*fit it anew by `wbcjax evaluate --calibrate`"):
        temperatures(tmp_path, 10)
