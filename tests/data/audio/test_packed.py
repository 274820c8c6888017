"""What is packed is what was decoded; the cache never serves stale samples, and programs that share it do no harm."""

import os
from pathlib import Path

import numpy as np
import pytest

from data.audio import packed as packed_module
from data.audio.decoding import FEW, LOUD, decode, decode_with_remarks, fit
from data.audio.packed import pack, usable
from data.base.errors import UserError
from data.manifests.manifest import Utterance, read_manifest, write_manifest
from tests.data.audio.test_decoding import NOISE, RNG, wav


def manifest(folder, *utterances, name="train.json"):
    write_manifest(folder / name, [Utterance(str(folder / path), "a", duration, offset)
                                   for path, offset, duration in utterances])
    return read_manifest(folder / name)


@pytest.fixture
def decodings(monkeypatch):
    """The paths decoded so far, while packing in this process."""
    seen = []

    def counted(path, *rest):
        seen.append(Path(path).name)
        return decode_with_remarks(path, *rest)
    monkeypatch.setattr(packed_module, "decode_with_remarks", counted)
    return seen


def test_packed_clips_are_the_decoded_ones_padded(tmp_path):
    wav(tmp_path / "long.wav"), wav(tmp_path / "short.wav", NOISE[:5_000])
    clips = pack(manifest(tmp_path, ("long.wav", 0, 3), ("short.wav", 0, 1), ("long.wav", 1.5, 0.5),
                          ("long.wav", 0.5, 1)), 1.0, "mine-train", tmp_path / "cache")
    expected = np.stack([NOISE[16_000:32_000], np.pad(NOISE[:5_000], (0, 11_000)),
                         np.pad(NOISE[24_000:32_000], (0, 8_000)), NOISE[8_000:24_000]])
    assert len(clips) == 4
    assert clips.length.tolist() == [16_000, 5_000, 8_000, 16_000]
    for indices in ([0, 1, 2, 3], [3, 1], [2, 2], []):
        assert np.array_equal(clips.read(indices), expected[indices])
    assert clips.read([1]).dtype == np.int16


def test_the_cache_is_used_again_and_made_anew_when_anything_changed(tmp_path, decodings):
    cache = tmp_path / "cache"
    for name in ("a.wav", "b.wav"):
        wav(tmp_path / name, NOISE[:8_000])
    entries = [("a.wav", 0, 0.5), ("b.wav", 0, 0.5)]

    def decoded(seconds=1.0, name="mine-train"):
        """How many files a call decodes."""
        before = len(decodings)
        clips = pack(manifest(tmp_path, *entries), seconds, name, cache)
        for i, (path, offset, duration) in enumerate(entries):  # never stale
            assert np.array_equal(clips.read([i])[0], fit(decode(str(tmp_path / path), offset, duration),
                                                          clips.clip_samples))
        return len(decodings) - before

    assert decoded() == 2
    assert decoded() == 0
    assert decoded(0.25) == 2  # another clip length is another cache ...
    assert decoded() == 0      # ... that leaves the first alone
    assert decoded(name="mine-test") == 2
    assert decoded(name="mine") == 2
    assert decoded() == 0
    os.utime(tmp_path / "a.wav", ns=(1, 1))  # touched
    assert decoded() == 2
    entries[0] = ("a.wav", 0.1, 0.4)
    assert decoded() == 2
    entries.reverse()
    assert decoded() == 2
    entries.append(("a.wav", 0, 0.2))
    assert decoded() == 3
    assert decoded() == 0
    stems = sorted(path.name.rsplit("-", 1)[0] for path in cache.iterdir())
    assert stems == sorted(2 * ["mine-train-16000", "mine-train-4000", "mine-test-16000", "mine-16000"])  # no old ones


DAMAGE = {"empty index": lambda index: b"", "broken index": lambda index: index[:-40], "text": lambda index: b"index"}
VALUES = {"another's": {"length": np.array([16_000])}, "negative": {"length": np.array([48_000, -16_000])},
          "objects": {"length": np.array(["a", None], object)}, "no JSON": {"about": "{"}, "list": {"about": "[]"},
          "bad of no clip": {"about": '{"bad": {"7": "x"}, "remarks": {}}'}, "check": {"check": "abc"}}


@pytest.mark.parametrize("damage", ["no audio", "short audio", "other audio", *DAMAGE, *VALUES])
def test_a_damaged_cache_is_made_anew(tmp_path, decodings, damage):
    wav(tmp_path / "a.wav")
    mine = manifest(tmp_path, ("a.wav", 0, 1), ("a.wav", 1, 1))
    expected = pack(mine, 1.0, "x", tmp_path / "cache").read([0, 1])
    audio, index = (next((tmp_path / "cache").glob(f"*.{kind}")) for kind in ("i16", "npz"))
    if damage == "no audio":
        audio.unlink()
    elif damage == "short audio":
        audio.write_bytes(audio.read_bytes()[:1_000])
    elif damage == "other audio":
        audio.write_bytes(bytes(64_000))
    elif damage in DAMAGE:
        index.write_bytes(DAMAGE[damage](index.read_bytes()))
    else:
        with np.load(index) as content:
            values = dict(content)
        np.savez(index, **values | VALUES[damage])
    assert np.array_equal(pack(mine, 1.0, "x", tmp_path / "cache").read([0, 1]), expected)
    assert len(decodings) == 4


def test_processes_give_what_one_process_gives(tmp_path, monkeypatch):
    names = []
    for i in range(12):
        names.append(f"{i}.{'flac' if i % 2 else 'wav'}")
        wav(tmp_path / names[-1], NOISE[i * 1_000:i * 1_000 + 3_000 * (i + 1)], 16_000 if i % 3 else 22_050)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    mine = manifest(tmp_path, *((name, 0, 9) for name in [*names[:5], "broken.wav", *names[5:], names[0]]))
    alone = pack(mine, 1.0, "alone", tmp_path)
    monkeypatch.setattr(packed_module, "_CHUNK", 1)
    monkeypatch.setattr("data.base.cores.cores", lambda: 2)
    together = pack(mine, 1.0, "together", tmp_path)
    assert list(together.bad) == list(alone.bad) == [5]
    assert together.length.tolist() == alone.length.tolist()
    assert np.array_equal(together.read(range(14)), alone.read(range(14)))


def test_bad_clips_stop_the_run_or_are_left_out_and_named(tmp_path, capsys):
    wav(tmp_path / "a.wav"), wav(tmp_path / "silent.wav", np.zeros(16_000))
    mine = manifest(tmp_path, ("a.wav", 0, 1), ("silent.wav", 0, 1), ("a.wav", 9, 1), ("a.wav", 1, 1))
    clips = pack(mine, 1.0, "x", tmp_path / "cache")
    with pytest.raises(UserError, match=r"silent.wav: silent.*and 1 more of .*4 clips.*--skip_bad_audio"):
        usable(clips, mine, skip_bad_audio=False)
    assert usable(clips, mine, skip_bad_audio=True).tolist() == [0, 3]
    said = capsys.readouterr().err
    assert "leaving out 2 of 4 clips" in said and "silent.wav" in said and "past its end" in said
    assert "no clip is left" not in said
    mine.labels, mine.label = ["yes", "no", "go"], np.array([0, 1, 1, 2], np.int32)
    assert usable(clips, mine, skip_bad_audio=True).tolist() == [0, 3]
    assert "no clip is left of 1 of its classes: 'no'" in capsys.readouterr().err
    only_bad = manifest(tmp_path, ("silent.wav", 0, 1), name="bad.json")
    with pytest.raises(UserError, match="silent to the bit"):
        usable(pack(only_bad, 1.0, "y", tmp_path / "cache"), only_bad, skip_bad_audio=True)


def test_recordings_that_appear_or_are_replaced_with_their_size_and_date_kept_are_decoded_anew(tmp_path, decodings):
    mine = manifest(tmp_path, ("a.wav", 0, 1))
    assert "no such audio file" in pack(mine, 1.0, "x", tmp_path / "cache").bad[0]
    for version, way in enumerate(("write", "move", "write")):
        samples = NOISE[version * 8_000:version * 8_000 + 16_000]
        wav(tmp_path / ("a.wav" if way == "write" else "b.wav"), samples)
        if way == "move":
            os.replace(tmp_path / "b.wav", tmp_path / "a.wav")
        os.utime(tmp_path / "a.wav", ns=(10**18, 10**18))
        assert np.array_equal(pack(mine, 1.0, "x", tmp_path / "cache").read([0])[0], samples)
    assert len(decodings) == 4


def test_programs_that_share_a_name_do_not_remove_what_the_other_has_mapped(tmp_path, decodings):
    wav(tmp_path / "a.wav")
    first, second = (manifest(tmp_path, ("a.wav", offset, 1), name=f"{offset}.json") for offset in (0, 1))
    cache = tmp_path / "cache"

    def files():
        return sorted(path.suffix for path in cache.iterdir())

    held = pack(first, 1.0, "x", cache)
    other = pack(second, 1.0, "x", cache)
    assert files() == [".i16", ".i16", ".npz", ".npz"]
    again = pack(first, 1.0, "x", cache)
    assert len(decodings) == 2  # both were still there
    assert np.array_equal(held.read([0])[0], NOISE[:16_000])
    assert np.array_equal(other.read([0])[0], NOISE[16_000:32_000])
    del held, again
    pack(manifest(tmp_path, ("a.wav", 2, 1)), 1.0, "x", cache)
    assert files() == [".i16", ".i16", ".npz", ".npz"]  # the first is gone, what `other` maps is not
    assert np.array_equal(pack(second, 1.0, "x", cache).read([0]), other.read([0]))
    assert len(decodings) == 3


@pytest.mark.parametrize("ending", ["i16", "npz"])
def test_a_pipe_in_place_of_a_cache_file_is_refused_not_waited_for(tmp_path, ending):
    wav(tmp_path / "a.wav")
    mine = manifest(tmp_path, ("a.wav", 0, 1))
    pack(mine, 1.0, "x", tmp_path / "cache")
    (cached,) = (tmp_path / "cache").glob(f"*.{ending}")
    cached.unlink()
    os.mkfifo(cached)
    with pytest.raises(UserError, match="named pipe"):
        pack(mine, 1.0, "x", tmp_path / "cache")


def test_the_checksum_of_many_samples_covers_the_first_the_last_and_some_between(monkeypatch):
    monkeypatch.setattr(packed_module, "_SAMPLED", 1_280)
    samples = RNG.integers(-9, 9, 20_000).astype(np.int16)
    check = packed_module._checksum(samples)
    assert check == packed_module._checksum(samples.copy())
    for changed in (slice(0, 1), slice(-1, None), slice(9_000, 9_400)):
        other = samples.copy()
        other[changed] += 1
        assert packed_module._checksum(other) != check


def test_what_is_odd_about_clips_is_one_line_at_every_use(tmp_path, capsys):
    quiet = RNG.integers(-3, 4, 16_000).astype(np.int16)
    wav(tmp_path / "a.wav"), wav(tmp_path / "quiet.wav", quiet), wav(tmp_path / "quieter.wav", quiet // 2)
    wav(tmp_path / "loud.wav", 3.0 * RNG.uniform(-1, 1, 16_000), subtype="FLOAT")
    mine = manifest(tmp_path, ("a.wav", 1, 1), ("quiet.wav", 0, 1), ("loud.wav", 0, 1), ("quieter.wav", 0, 1))
    said = []
    for _ in range(2):
        clips = pack(mine, 1.0, "x", tmp_path / "cache")
        assert usable(clips, mine, skip_bad_audio=False).tolist() == [0, 1, 2, 3]
        said.append(capsys.readouterr().err)
    assert said[0] == said[1] and said[0].count("\n") == 1
    assert f"of its 4 clips 2 {FEW} (first: {tmp_path / 'quiet.wav'}); 1 {LOUD} (first: " in said[0]
