"""What a teacher said is kept, goes on after a kill, and belongs to the very clips and teacher."""

import numpy as np
import pytest

from data.base.errors import UserError
from data.dataset import Clips
from data.manifests.corpus import load_corpus
from models.teachers import kept
from models.teachers.kept import Taught, taught
from models.teachers.models import Teacher, open_teacher


@pytest.fixture
def clips(words):
    return Clips.of(load_corpus("words", ("dev",), words.registry).splits["dev"], "dev", 1.0, words.folder / "cache")


def counting(embed, digest="one", size=40):
    heard = []

    def count(clips):
        heard.append(len(clips))
        return embed(clips)
    return Teacher("counting", size, digest, count), heard


def test_each_clip_is_heard_once(clips, teacher_file, tmp_path):
    teacher, heard = counting(open_teacher(str(teacher_file[0])).embed)
    found = taught(teacher, clips, "dev", tmp_path)
    expected = teacher_file[1](clips[np.arange(len(clips))][0].numpy())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 1e-3 and sum(heard) == len(clips) == len(found)
    again = taught(teacher, clips, "dev", tmp_path)
    assert np.array_equal(again, found) and sum(heard) == len(clips)
    file, = tmp_path.glob("*.f16")
    expected, cut = np.array(found), file.read_bytes()[:-100]
    file.unlink()  # what is mapped stays
    file.write_bytes(cut)
    assert np.array_equal(taught(teacher, clips, "dev", tmp_path), expected) and sum(heard) == 2 * len(clips)
    rows = np.array([4, 0])
    waveforms, labels, said = Taught(clips, found)[rows]
    assert np.array_equal(said, found[rows]) and np.array_equal(labels, clips.manifest.label[rows])
    assert np.array_equal(waveforms, clips[rows][0])


def test_context_is_not_heard(clips, teacher_file, tmp_path):
    teacher, _ = counting(lambda waveforms: waveforms[:, ::350].astype(np.float32) + 0.5, size=40)
    found = taught(teacher, clips, "dev", tmp_path, 1_000)
    expected = clips[np.arange(len(clips))][0].numpy()[:, 1_000:-1_000:350] + 0.5
    assert np.abs(found - expected / np.linalg.norm(expected, axis=1, keepdims=True)).max() < 1e-3
    assert len(taught(teacher, clips, "dev", tmp_path)) and len(list(tmp_path.glob("*.f16"))) == 2


def test_a_killed_hearing_goes_on(clips, teacher_file, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "AT_ONCE", 4)
    embed = open_teacher(str(teacher_file[0])).embed

    def tires(clips):
        if len(heard) > 3:
            raise KeyboardInterrupt
        return embed(clips)
    teacher, heard = counting(tires)
    with pytest.raises(KeyboardInterrupt):
        taught(teacher, clips, "dev", tmp_path)
    part, = tmp_path.glob("*.part")
    part.write_bytes(part.read_bytes() + b"half a row")
    whole, heard = counting(embed)
    found = taught(whole, clips, "dev", tmp_path)
    assert sum(heard) == len(clips) - 12 and not list(tmp_path.glob("*.part"))
    assert np.array_equal(found, taught(whole, clips, "dev", tmp_path / "anew"))


def test_other_clips_and_other_teachers_are_heard_anew(clips, teacher_file, tmp_path):
    embed = open_teacher(str(teacher_file[0])).embed
    files = set()
    for teacher, some in ((counting(embed)[0], clips), (counting(embed, "two")[0], clips),
                          (counting(embed)[0], clips.subset(np.arange(1, len(clips))))):
        taught(teacher, some, "dev", tmp_path)
        files |= {path.name for path in tmp_path.iterdir()}
    assert len(files) == 3


def test_what_is_no_embedding_is_refused(clips, tmp_path):
    teacher, _ = counting(lambda clips: np.zeros((len(clips), 40), np.float32))
    with pytest.raises(UserError, match=r"gives no embedding of .*\.wav"):
        taught(teacher, clips, "dev", tmp_path)
