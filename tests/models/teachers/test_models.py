"""Teachers: what they are given, and what is said where there is none."""

import numpy as np
import pytest

from data.base.errors import UserError
from models.teachers.models import PACKAGES, around_middle, open_teacher
from tests.models.teachers.conftest import SIZE

CLIPS = np.random.default_rng(1).integers(-3000, 3000, (3, 16_000)).astype(np.int16)


def test_a_file_embeds_waveforms(teacher_file):
    path, embed = teacher_file
    teacher = open_teacher(str(path))
    assert teacher.size == SIZE
    assert np.allclose(teacher.embed(CLIPS), embed(CLIPS), rtol=1e-4)
    padded = np.pad(CLIPS, ((0, 0), (800, 800)))  # of another length: its middle
    assert np.allclose(teacher.embed(padded), embed(CLIPS), rtol=1e-4)


@pytest.mark.parametrize("samples", [7, 8, 11, 16])
def test_a_clip_is_cut_or_filled_up_around_its_middle(samples):
    clip = np.arange(1, 11)
    cut = around_middle(clip[None], samples)[0]
    assert len(cut) == samples
    kept = cut[cut > 0]
    assert np.array_equal(kept, clip[kept[0] - 1:kept[-1]]) and len(kept) == min(samples, 10)
    before, after = (kept[0] - 1, 10 - kept[-1]) if samples < 10 else (np.argmax(cut > 0), np.argmax(cut[::-1] > 0))
    assert abs(before - after) <= 1


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_not_there_is_named_with_its_install_command(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(UserError, match=rf"--teacher {name}: is not installed; pip install --no-deps {name}=="):
        open_teacher(name)


def test_what_is_no_such_model_is_refused(tmp_path, teacher_file):
    with pytest.raises(UserError, match=r"nowhere\.onnx is no model .*efficientword-net"):
        open_teacher(str(tmp_path / "nowhere.onnx"))
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(teacher_file[0].read_bytes()[:100])
    with pytest.raises(UserError, match=r"cut\.onnx is no model that onnxruntime reads"):
        open_teacher(str(cut))
