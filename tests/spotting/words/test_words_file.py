"""The words file: what is written is read, and what cannot be right is found out."""

import json

import numpy as np
import pytest

from data.base.errors import UserError
from spotting.encoders.facts import Facts
from spotting.words.words_file import Clip, Word, Words, check_encoder, misfits, read_words, taken_for, write_words

FACTS = Facts("/x/r/checkpoints/Res8-STEP-1.pt", "r", "Res8", 1, "a" * 64, 8, 16_000, {"mels": 64})


def clips(centre, count, spread, rng):
    x = centre + spread * rng.standard_normal((count, 1, len(centre)))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return [Clip(f"{i}.wav", 0.5, 1.0, f"{rng.random()}", e.astype(np.float32)) for i, e in enumerate(x)]


def word(name, axis, count=5, spread=0.05, seed=0):
    return Word(name, clips(np.eye(8)[axis], count, spread, np.random.default_rng([seed, axis])), 0.0, 0.2, 0.8, 0.7)


@pytest.fixture
def path(tmp_path):
    write_words(tmp_path / "w.json", Words(FACTS, [word("häuser", 0), word("cat", 1)], {"hours": 2.0}))
    return tmp_path / "w.json"


def test_what_is_written_is_read(path):
    text = path.read_text()
    words = read_words(path)
    assert words.names == ["häuser", "cat"]
    assert words.encoder == FACTS
    assert words.calibration == {"hours": 2.0}
    assert np.allclose(words.words[1].template(), word("cat", 1).template(), atol=1e-5)
    write_words(path, words)
    assert path.read_text() == text
    assert sum(line.count(",") == 8 for line in text.split("\n")) == 0  # an embedding is one line
    assert sum(line.count(",") >= 7 for line in text.split("\n")) == 10


def change(path, *keys, to):
    value = json.loads(path.read_text())
    inside = value
    for key in keys[:-1]:
        inside = inside[key]
    if to is None:
        del inside[keys[-1]]
    else:
        inside[keys[-1]] = to
    path.write_text(json.dumps(value))


CLIP = ("words", "cat", "clips", 0)


@pytest.mark.parametrize(("keys", "to", "message"), [
    (("format",), "other", "no file of words"),
    (("encoder",), None, "encoder"),
    (("encoder", "sha256"), 5, "sha256"),
    (("encoder", "width"), None, "width"),
    (("words",), {}, "no words"),
    (("words", "cat", "threshold"), "high", "threshold"),
    (("words", "cat", "threshold"), None, "threshold"),
    (("words", "cat", "threshold"), float("nan"), "threshold"),
    (("words", "cat", "clips"), [], "no clips"),
    (("words", "cat", "end"), -1.0, "end"),
    ((*CLIP, "embedding"), [[1.0, 0.0]], "8 numbers"),
    ((*CLIP, "embedding"), [], "windows"),
    ((*CLIP, "embedding"), [[0.9] * 8], "length 2.546"),
    ((*CLIP, "embedding"), [[float("nan")] * 8], "length nan"),
    ((*CLIP, "embedding"), [["1"] * 8], "embedding"),
    ((*CLIP, "sha1"), None, "sha1"),
    (("words", "cat", "threshold"), 10**400, "threshold"),
    (("words", "cat", "threshold"), 5, "between -1 and 1"),
    (("words", "cat", "threshold"), -1e308, "between -1 and 1"),
    (("words", "cat", "spacing"), 30.0, "spacing"),
    (("words", "cat", "end"), 1000.0, "lies in 1 s"),
    (("words", "cat", "end"), float("inf"), "end"),
    (("encoder", "clip_samples"), 10**400, "clip_samples"),
    (("encoder", "width"), 10**400, "width"),
    ((*CLIP, "offset"), float("nan"), "offset"),
    ((*CLIP, "embedding"), [[10**400] * 8], "embedding"),
    ((*CLIP, "embedding"), [[0.0] * 7 + [1.0]], "was changed"),
    (("calibration", "background"), 5, "background"),
    (("calibration", "background"), [["a.wav"]], "background"),
    (("cohort",), "c" * 40, "names a cohort"),
])
def test_what_was_edited_so_that_it_cannot_be_right(path, keys, to, message):
    change(path, *keys, to=to)
    with pytest.raises(UserError, match=message) as error:
        read_words(path)
    assert str(path) in str(error.value)
    assert "spotting.enroll" in str(error.value)


def edited(path, change_it):
    value = json.loads(path.read_text())
    change_it(value["words"])
    path.write_text(json.dumps(value))


def swap_embeddings(words):
    a, b = words["häuser"]["clips"][0], words["cat"]["clips"][0]
    a["embedding"], b["embedding"] = b["embedding"], a["embedding"]


def permute(words):
    words["cat"]["clips"][2]["embedding"][0].reverse()


def negate(words):
    words["cat"]["clips"][2]["embedding"] = [[-x for x in row] for row in words["cat"]["clips"][2]["embedding"]]


@pytest.mark.parametrize("change_it", [swap_embeddings, permute, negate])
def test_embeddings_of_length_1_that_are_not_the_clips(path, change_it):
    edited(path, change_it)
    with pytest.raises(UserError, match=r"embedding of \d.wav is not the one that was enrolled"):
        read_words(path)


@pytest.mark.parametrize("name", ["", " ", " cat", "a\nb", "\x1b[31mcat", "x" * 300, "e\u0301", "\ud800"])
def test_names_that_no_folder_of_clips_could_have(path, name):
    edited(path, lambda words: words.update({name: words.pop("cat")}))
    with pytest.raises(UserError, match="its name"):
        read_words(path)


def test_a_clip_that_is_there_twice(path):
    text = path.read_text()
    edited(path, lambda words: words["cat"]["clips"].append(words["cat"]["clips"][0]))
    with pytest.raises(UserError, match=r"'cat': the clip 0.wav is there twice;"):
        read_words(path)
    path.write_text(text)
    edited(path, lambda words: words.update({"dog": words["cat"]}))
    with pytest.raises(UserError, match=r"'dog': the clip 0.wav is there twice, also under 'cat'"):
        read_words(path)


@pytest.mark.parametrize(("key", "other"), [('"cat":', '"häuser":'),
                                            ('"threshold":', '"threshold": 0.9, "threshold":')])
def test_a_key_that_is_there_twice(path, key, other):
    path.write_text(path.read_text().replace(key, other, 1))
    with pytest.raises(UserError, match=f"{other.split(':')[0][1:-1]}' is there twice"):
        read_words(path)


def test_a_file_made_to_look_as_if_it_had_no_cohort(path):
    words = read_words(path)
    words.cohort = "c" * 40
    write_words(path, words)
    change(path, "format", to="keyword-spotting words 1")
    change(path, "cohort", to=None)
    with pytest.raises(UserError, match="not the one that was enrolled"):
        read_words(path)


def test_what_may_be_edited_by_hand(path):
    edited(path, lambda words: words.update({"Katze": words.pop("cat")}))
    edited(path, lambda words: words["Katze"]["clips"].pop(1))
    assert [(w.name, len(w.clips)) for w in read_words(path).words] == [("häuser", 5), ("Katze", 4)]
    edited(path, lambda words: [clip.pop("check") for word in words.values() for clip in word["clips"]])
    assert len(read_words(path).words) == 2  # a file of before


def test_a_threshold_may_be_set_by_hand(path):
    change(path, "words", "cat", "threshold", to=1)
    assert read_words(path).words[1].threshold == 1.0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated(path, share):
    text = path.read_text()
    path.write_text(text[:int(share * len(text))])
    with pytest.raises(UserError, match="not valid JSON"):
        read_words(path)


def test_another_encoder_is_refused_naming_both():
    other = Facts("/y", "other", "Res15", 7, "b" * 64, 8, 16_000, {"mels": 64})
    with pytest.raises(UserError, match=r"'r', Res8, step 1 .*'other', Res15, step 7"):
        check_encoder(Words(FACTS, []), other, "w.json")
    with pytest.raises(UserError, match="front end"):
        check_encoder(Words(FACTS, []), Facts(*[*list(FACTS.__dict__.values())[:-1], {"mels": 40}]), "w.json")
    check_encoder(Words(FACTS, []), FACTS, "w.json")


def test_which_cohort_is_kept_and_looked_for(path, tmp_path):
    words = read_words(path)
    assert words.cohort is None
    words.cohort = "c" * 40
    write_words(path, words)
    assert read_words(path).cohort == "c" * 40
    change(path, "cohort", to=None)
    with pytest.raises(UserError, match="which cohort"):
        read_words(path)
    change(path, "cohort", to=5)
    with pytest.raises(UserError, match="cohort"):
        read_words(path)


def test_left_out_scores_are_by_the_others():
    one = word("a", 0)
    for i, score in enumerate(one.left_out_scores()):
        mean = np.mean([c.embedding[0] for j, c in enumerate(one.clips) if j != i], axis=0)
        assert score == pytest.approx(float(one.clips[i].embedding[0] @ mean / np.linalg.norm(mean)), abs=1e-6)
    assert np.isnan(word("a", 0, 1).left_out_scores()).all()


def test_a_clip_that_does_not_fit_and_words_too_close_are_named():
    a, b = word("a", 0), word("b", 1)
    assert not misfits([a, b])
    assert not taken_for([a, b])
    stray = clips(np.eye(8)[1], 1, 0.05, np.random.default_rng(9))
    a.clips += stray
    assert [clip for clip, _ in misfits([a, b])] == stray
    assert "'b'" in misfits([a, b])[0][1]
    assert [clip for clip, _ in misfits([a])] == stray  # also if there is no other word
    c = word("c", 1, seed=3)
    c.threshold = 2.0  # which no clip reaches
    assert [line.split(":")[1] for line in taken_for([c, b, word("d", 2)])] == [" 'c' and 'b' are alike"]
    count = len(c.clips)
    assert f"{count} of {count} clips of the first reach the second's threshold, 0 of" in taken_for([c, b])[0]
    assert len(taken_for([word(str(i), 1, seed=3) for i in range(9)])) == 6
