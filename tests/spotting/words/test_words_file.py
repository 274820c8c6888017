"""The words file: what is written is read, and what cannot be right is found out."""

import json
from dataclasses import replace

import numpy as np
import pytest

from data.base.errors import UserError
from models.enrolment.enrol import alike
from spotting.encoders.load import Embedder, Facts
from spotting.words.words_file import Clip, Word, Words, misfits, read_words, suited, taken_for, write_words

FACTS = Facts("/x/r/checkpoints/Res8-STEP-1.pt", "r", "Res8", 1, "a" * 64, 8, 16_000, {"mels": 64})


def clips(centre, count, spread, rng):
    x = centre + spread * rng.standard_normal((count, 1, len(centre)))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return [Clip(f"{i}.wav", 0.5, 1.0, f"{rng.random()}", *3 * [e.astype(np.float32)]) for i, e in enumerate(x)]


def word(name, axis, count=5, spread=0.05, seed=0):
    return Word(name, clips(np.eye(8)[axis], count, spread, np.random.default_rng([seed, axis])), 0.0, 0.2, 0.8, 0.7)


@pytest.fixture
def path(tmp_path):
    write_words(tmp_path / "w.json", Words(FACTS, [word("häuser", 0), word("cat", 1)], {"hours": 2.0}))
    return tmp_path / "w.json"


def test_what_is_written_is_read(path):
    text = path.read_text()
    words = read_words(path)
    assert words.names == ["häuser", "cat"] and words.encoder == FACTS
    assert words.calibration == {"hours": 2.0}
    assert np.allclose(words.words[1].models(), word("cat", 1).models(), atol=1e-5)
    write_words(path, words)
    assert path.read_text() == text
    assert sum(line.count(",") == 8 for line in text.split("\n")) == 0  # an embedding is one line
    assert sum(line.count(",") >= 7 for line in text.split("\n")) == 30


def test_a_word_is_modelled_by_its_clips_in_all_conditions(tmp_path, path):
    before, heard = word("cat", 1), word("cat", 1)
    for clip in heard.clips:
        clip.model, clip.halls = 0.5 * np.roll(clip.embedding, 1, 1), np.roll(clip.embedding, 2, 1)
    models = [np.roll(before.models()[0], by, 2) for by in (1, 2)]  # (1, 1 + N, D) each
    assert np.allclose(heard.models(), models, atol=1e-6) and heard.models(2).shape == (2, 1, 5, 8)
    own = heard.clips[0].embedding
    assert heard.similar(own) == pytest.approx(alike(own, np.array(models))[0])
    write_words(tmp_path / "heard.json", Words(FACTS, [heard], {}))
    assert np.allclose(read_words(tmp_path / "heard.json").words[0].models(), models, atol=1e-5)
    whole = (tmp_path / "heard.json").read_text()
    for name in ("model", "halls"):
        (tmp_path / "heard.json").write_text(whole)
        change(tmp_path / "heard.json", "words", "cat", "clips", 0, name, to=before.clips[0].embedding.tolist())
        with pytest.raises(UserError, match="not the one that was enrolled"):
            read_words(tmp_path / "heard.json")


def change(path, *keys, to):
    value = json.loads(path.read_text())
    inside = value
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = to
    if to is None:
        del inside[keys[-1]]
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(("keys", "to", "message"), [
    (("format",), "keyword-spotting words 2", "words 2'"),
    (("encoder", "width"), None, "width"),
    (("encoder", "width"), 9, "differ"),
    (("words",), {}, "0 words"),
    (("words", "cat", "threshold"), "high", "could not convert"),
    (("words", "cat", "threshold"), float("nan"), "number that is none"),
    (("words", "cat", "end"), 10**400, "too large"),
    (("words", "cat", "clips"), [], "IndexError"),
    (("words", "cat", "clips", 0, "sha1"), None, "sha1"),
    (("words", "cat", "clips", 0, "embedding"), [[float("nan")] * 8], "was changed"),
    (("words", "cat", "clips", 0, "embedding"), [["1"] * 8], "ValueError"),
    (("words", "cat", "clips", 0, "embedding"), [[1.0] + [0.0] * 7], r"of 0\.wav is not the one that was enrolled"),
    (("calibration", "background"), 5, "background"),
    (("cohort",), "c" * 40, "was changed"),
])
def test_what_is_damaged_is_one_line(path, keys, to, message):
    change(path, *keys, to=to)
    with pytest.raises(UserError, match=message) as error:
        read_words(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "spotting.enroll" in str(error.value)


def test_the_cohort_is_kept_and_cannot_be_taken_off(path):
    words = read_words(path)
    assert words.cohort is None
    words.cohort = "c" * 40
    write_words(path, words)
    assert read_words(path).cohort == "c" * 40
    change(path, "cohort", to=None)
    with pytest.raises(UserError, match="not the one that was enrolled"):
        read_words(path)


def test_what_may_be_edited_by_hand(path):
    path.write_text(path.read_text().replace('"cat"', '"Katze"'))
    change(path, "words", "Katze", "clips", 1, to=None)
    change(path, "words", "Katze", "threshold", to=1)
    words = read_words(path).words
    assert [(w.name, len(w.clips)) for w in words] == [("häuser", 5), ("Katze", 4)] and words[1].threshold == 1.0


def test_another_encoder_is_refused_naming_both():
    other = Facts("/y", "other", "Res15", 7, "b" * 64, 8, 16_000, {"mels": 64})
    with pytest.raises(UserError, match=r"'r', Res8, step 1 .*'other', Res15, step 7"):
        suited(Words(FACTS, []), Embedder(other, None), "w.json")
    with pytest.raises(UserError, match="enrol them again"):
        suited(Words(FACTS, []), Embedder(replace(FACTS, frontend={"mels": 40}), None), "w.json")
    moved = Embedder(replace(FACTS, path="/elsewhere", run="copy"), None)
    assert suited(Words(FACTS, []), moved, "w.json") == moved


def test_left_out_scores_are_by_the_others():
    one = word("a", 0)
    for i, score in enumerate(one.left_out_scores()):
        others = np.array([c.embedding[0] for j, c in enumerate(one.clips) if j != i])
        own, mean = one.clips[i].embedding[0], others.mean(0)
        assert score == pytest.approx((own @ mean / np.linalg.norm(mean) + np.mean(sorted(others @ own)[-3:])) / 2)
    assert np.isnan(word("a", 0, 1).left_out_scores()).all()


def test_a_clip_that_does_not_fit_and_words_too_close_are_named():
    a, b = word("a", 0), word("b", 1)
    assert not misfits([a, b]) and not taken_for([a, b])
    stray = clips(np.eye(8)[1], 1, 0.05, np.random.default_rng(9))
    a.clips += stray
    assert [clip for clip, _ in misfits([a, b])] == stray
    assert "'b'" in misfits([a, b])[0][1]
    assert [clip for clip, _ in misfits([a])] == stray  # also if there is no other word
    c = word("c", 1, seed=3)
    c.threshold = 2.0  # which no clip reaches
    lines = taken_for([c, b, word("d", 2)])
    assert len(lines) == 1 and f"{len(c.clips)} clips of 'c' reach the threshold of 'b'" in lines[0]
    assert len(taken_for([word(str(i), 1, seed=3) for i in range(9)])) == 5
