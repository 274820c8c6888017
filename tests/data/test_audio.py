"""Clips are the right samples of the right file, whatever its format, and the cache never serves stale ones."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

import data.audio
from data.audio import SAMPLE_RATE, PackedClips, decode, fit, pack, to_int16, usable
from data.base.errors import UserError
from data.manifests import Utterance, read_manifest, write_manifest

RNG = np.random.default_rng(0)
NOISE = RNG.integers(-20_000, 20_000, 48_000).astype(np.int16)  # three seconds


def tone(seconds, rate, hertz=440.0, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def wav(path, samples=NOISE, rate=SAMPLE_RATE, **how):
    soundfile.write(path, samples, rate, **how)
    return str(path)


def manifest(folder, *utterances, name="train.json"):
    write_manifest(folder / name, [Utterance(str(folder / path), "a", duration, offset)
                                   for path, offset, duration in utterances])
    return read_manifest(folder / name)


# -- decode and fit

@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_16_khz_int16_is_taken_as_it_is(tmp_path, extension):
    path = wav(tmp_path / f"a.{extension}")
    assert np.array_equal(decode(path), NOISE)
    assert np.array_equal(decode(path, 0.5, 0.25), NOISE[8_000:12_000])
    assert np.array_equal(decode(path, 2.5, 9.0), NOISE[40_000:])  # to the end when there is no more


@pytest.mark.parametrize("extension", ["ogg", "mp3"])
def test_lossy_formats_come_near(tmp_path, extension):
    path = wav(tmp_path / f"a.{extension}", tone(1, SAMPLE_RATE))
    inside = slice(2_000, 14_000)
    error = decode(path)[inside] / 32768 - tone(1, SAMPLE_RATE)[inside]
    assert len(decode(path)) == SAMPLE_RATE
    assert np.abs(error).max() < 0.02


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_pitch_level_and_length(tmp_path, rate):
    found = decode(wav(tmp_path / "a.wav", tone(1, rate), rate)) / 32768
    assert abs(len(found) - SAMPLE_RATE) <= 1
    inside = slice(1_000, 15_000)  # a tone that starts at once rings at its ends
    assert np.abs(found[inside] - tone(1, SAMPLE_RATE)[inside]).max() < 0.01


def test_offset_and_duration_are_seconds_at_any_rate(tmp_path):
    click = np.zeros(88_200)
    click[44_100 + 22_050] = 0.9  # at 1.5 s
    path = wav(tmp_path / "a.wav", click, 44_100)
    part = decode(path, 1.25, 0.5)
    assert len(part) == 8_000
    assert abs(int(np.abs(part).argmax()) - 4_000) <= 1


def test_channels_are_averaged(tmp_path):
    left, right = RNG.integers(-9_000, 9_000, (2, 16_000))
    path = wav(tmp_path / "a.wav", np.stack([left, right], 1).astype(np.int16))
    assert np.abs(decode(path) - (left + right) / 2).max() <= 0.5


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW"])
def test_sample_types_agree(tmp_path, subtype):
    path = wav(tmp_path / "a.wav", tone(1, SAMPLE_RATE), subtype=subtype)
    coarse = {"PCM_U8": 1 / 128, "ULAW": 1 / 32}.get(subtype, 2 / 32768)
    assert np.abs(decode(path) / 32768 - tone(1, SAMPLE_RATE)).max() <= coarse


def test_full_scale_is_clipped_never_wrapped():
    assert to_int16(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [-32768, -32768, 0, 16384, 32767, 32767]


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 10, 15])
def test_fit_cuts_around_the_centre_and_pads_the_end(length):
    for size in range(12):
        clip = np.arange(1, size + 1)
        found = fit(clip, length).tolist()
        if size <= length:
            assert found == clip.tolist() + [0] * (length - size)
        else:
            before, after = found[0] - 1, size - found[-1]  # samples cut away
            assert found == list(range(found[0], found[0] + length))
            assert 0 <= after - before <= 1


@pytest.mark.parametrize(("offset", "duration"), [(0, None), (0, 3.0), (0.4, 2.2001), (1.0, 1.5)])
def test_decoding_the_centre_is_decoding_all_and_cutting(tmp_path, offset, duration):
    path = wav(tmp_path / "a.flac")
    whole = decode(path, offset, duration)
    assert np.array_equal(fit(decode(path, offset, duration, longest=1.0), 16_000), fit(whole, 16_000))
    assert np.array_equal(decode(path, offset, duration, longest=5.0), whole)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
@pytest.mark.parametrize("longest", [0.1, 0.333, 1.0])
def test_the_centre_is_never_too_short_at_any_rate(tmp_path, rate, longest):
    path = wav(tmp_path / "a.wav", tone(2, rate), rate)
    part, whole = decode(path, longest=longest) / 32768, decode(path) / 32768
    length = round(longest * SAMPLE_RATE)
    assert length <= len(part) <= length + 3
    # The same stretch of the tone, up to the rounding of both centres: at most two samples.
    middle = fit(part, length)[length // 4:-length // 4]
    assert min(np.abs(middle - np.roll(fit(whole, length), shift)[length // 4:-length // 4]).max()
               for shift in (-2, -1, 0, 1, 2)) < 0.05


# -- what cannot be used

def test_bad_audio_is_named_with_its_reason(tmp_path):
    good = wav(tmp_path / "good.wav")
    cases = {"nowhere.wav": "no such audio file"}

    def case(name, content, reason):
        (tmp_path / name).write_bytes(content)
        cases[name] = reason

    case("empty.wav", b"", "it is empty")
    case("text.wav", b"not audio at all", "cannot be decoded")
    case("bare.raw", bytes(100), "cannot be decoded")
    case("caf\udce9.wav", Path(good).read_bytes(), "not valid UTF-8")
    flac = Path(wav(tmp_path / "whole.flac")).read_bytes()
    case("half.flac", flac[:len(flac) // 2], "cannot be decoded")
    endless = bytearray(flac)
    endless[21] &= 0xf0  # the 36 bits of STREAMINFO that count the samples; 0 is "unknown"
    endless[22:26] = bytes(4)
    case("endless.flac", bytes(endless), "does not say how long")
    mp3 = Path(wav(tmp_path / "whole.mp3")).read_bytes()
    case("half.mp3", mp3[:len(mp3) // 2], "ends early")
    wav(tmp_path / "none.wav", np.zeros(0))
    wav(tmp_path / "silent.wav", np.zeros(16_000))
    wav(tmp_path / "nan.wav", np.where(np.arange(16_000) == 7_000, np.nan, 0.1), subtype="FLOAT")
    wav(tmp_path / "inf.wav", np.where(np.arange(16_000) == 7_000, np.inf, 0.1), subtype="DOUBLE")
    (tmp_path / "folder.wav").mkdir()
    cases |= {"none.wav": "has no audio", "silent.wav": "silent to the bit", "nan.wav": "not numbers",
              "inf.wav": "not numbers", "folder.wav": "cannot be decoded"}
    for name, reason in cases.items():
        with pytest.raises(UserError) as error:
            decode(str(tmp_path / name))
        assert reason in str(error.value), name
        assert name.encode("ascii", "backslashreplace").decode() in str(error.value)
        assert "\n" not in str(error.value)


def test_offset_past_the_end_and_parts_without_sound(tmp_path):
    samples = NOISE.copy()
    samples[16_000:32_000] = 0
    path = wav(tmp_path / "a.wav", samples)
    with pytest.raises(UserError, match="offset 3 s is past its end at 3 s"):
        decode(path, 3.0, 1.0)
    with pytest.raises(UserError, match="silent to the bit from 1 s to 2 s"):
        decode(path, 1.0, 1.0)
    with pytest.raises(UserError, match="less than one sample"):
        decode(path, 0.0, 1e-6)
    assert len(decode(path, 2.99, 1.0)) == 160


def test_a_truncated_wav_is_read_as_far_as_it_goes(tmp_path):
    path = Path(wav(tmp_path / "a.wav"))
    path.write_bytes(path.read_bytes()[:44 + 2 * 20_000])
    assert np.array_equal(decode(str(path)), NOISE[:20_000])
    with pytest.raises(UserError, match="past its end"):
        decode(str(path), 2.0, 1.0)


# -- pack

@pytest.fixture
def decodings(monkeypatch):
    """The paths handed to `decode` so far, while packing in this process."""
    seen = []

    def counted(path, *rest):
        seen.append(Path(path).name)
        return decode(path, *rest)
    monkeypatch.setattr(data.audio, "decode", counted)
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
    wav(tmp_path / "b.wav", NOISE[9_000:17_000])  # other audio of the same size
    os.utime(tmp_path / "b.wav", ns=(2, 2))
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


@pytest.mark.parametrize("damage", ["no audio", "short audio", "empty index", "broken index"])
def test_a_damaged_cache_is_made_anew(tmp_path, decodings, damage):
    wav(tmp_path / "a.wav")
    mine = manifest(tmp_path, ("a.wav", 0, 1), ("a.wav", 1, 1))
    expected = pack(mine, 1.0, "x", tmp_path / "cache").read([0, 1])
    audio, index = (next((tmp_path / "cache").glob(f"*.{kind}")) for kind in ("i16", "npz"))
    if damage == "no audio":
        audio.unlink()
    elif damage == "short audio":
        audio.write_bytes(audio.read_bytes()[:1_000])
    else:
        index.write_bytes(b"" if damage == "empty index" else index.read_bytes()[:-40])
    assert np.array_equal(pack(mine, 1.0, "x", tmp_path / "cache").read([0, 1]), expected)
    assert len(decodings) == 4


def test_a_file_that_appears_or_is_mended_is_used(tmp_path):
    mine = manifest(tmp_path, ("late.wav", 0, 1))
    assert "no such audio file" in pack(mine, 1.0, "x", tmp_path / "cache").bad[0]
    (tmp_path / "late.wav").write_bytes(b"RIFF")
    assert "cannot be decoded" in pack(mine, 1.0, "x", tmp_path / "cache").bad[0]
    wav(tmp_path / "late.wav")
    clips = pack(mine, 1.0, "x", tmp_path / "cache")
    assert clips.bad == {}
    assert np.array_equal(clips.read([0])[0], NOISE[:16_000])


def test_processes_give_what_one_process_gives(tmp_path, monkeypatch):
    names = []
    for i in range(12):
        names.append(f"{i}.{'flac' if i % 2 else 'wav'}")
        wav(tmp_path / names[-1], NOISE[i * 1_000:i * 1_000 + 3_000 * (i + 1)], 16_000 if i % 3 else 22_050)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    mine = manifest(tmp_path, *((name, 0, 9) for name in [*names[:5], "broken.wav", *names[5:], names[0]]))
    alone = pack(mine, 1.0, "alone", tmp_path)
    monkeypatch.setattr(data.audio, "_CHUNK", 1)
    monkeypatch.setattr("data.base.cores._cores", lambda: 2)
    together = pack(mine, 1.0, "together", tmp_path)
    assert list(together.bad) == list(alone.bad) == [5]
    assert together.length.tolist() == alone.length.tolist()
    assert np.array_equal(together.read(range(14)), alone.read(range(14)))


def test_workers_are_processes_and_their_errors_arrive(monkeypatch):
    from data.base.cores import ordered_map
    monkeypatch.setattr("data.base.cores._cores", lambda: 2)
    assert list(ordered_map(os.path.basename, [f"/x/{i}" for i in range(20)])) == [str(i) for i in range(20)]
    assert len(set(ordered_map(_process, range(6))) - {os.getpid()}) >= 1
    with pytest.raises(ValueError, match="invalid literal"):
        list(ordered_map(int, ["1", "2", "3", "4", "5", "x", "7"]))
    some = ordered_map(_process, range(50))
    next(some)
    some.close()  # as Ctrl-C does: it must come back, not wait for the rest
    assert threading.active_count() < 10


def _process(_):
    return os.getpid()


def test_names_with_odd_characters_keep_to_the_cache_folder(tmp_path, decodings):
    wav(tmp_path / "ä b.wav")
    mine = manifest(tmp_path, ("ä b.wav", 0, 1))
    for name in ("a/../b-train", "[x]*-train", "wörter"):
        pack(mine, 1.0, name, tmp_path / "cache")
        pack(mine, 1.0, name, tmp_path / "cache")
    assert len(decodings) == 3
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_unwritable_cache_is_one_line(tmp_path):
    (tmp_path / "cache").touch()
    wav(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"cannot be written .*choose a folder"):
        pack(manifest(tmp_path, ("a.wav", 0, 1)), 1.0, "x", tmp_path / "cache")


def test_bad_clips_stop_the_run_or_are_left_out_and_named(tmp_path, capsys):
    wav(tmp_path / "a.wav"), wav(tmp_path / "silent.wav", np.zeros(16_000))
    mine = manifest(tmp_path, ("a.wav", 0, 1), ("silent.wav", 0, 1), ("a.wav", 9, 1), ("a.wav", 1, 1))
    clips = pack(mine, 1.0, "x", tmp_path / "cache")
    with pytest.raises(UserError, match=r"silent.wav: silent.*and 1 more of .*4 clips.*--skip_bad_audio"):
        usable(clips, mine, skip_bad_audio=False)
    assert usable(clips, mine, skip_bad_audio=True).tolist() == [0, 3]
    said = capsys.readouterr().err
    assert "leaving out 2 of 4 clips" in said and "silent.wav" in said and "past its end" in said
    only_bad = manifest(tmp_path, ("silent.wav", 0, 1), name="bad.json")
    with pytest.raises(UserError, match="silent to the bit"):
        usable(pack(only_bad, 1.0, "y", tmp_path / "cache"), only_bad, skip_bad_audio=True)
    whole = PackedClips(NOISE, np.array([0]), np.array([16_000]), 16_000, {})
    assert usable(whole, mine, skip_bad_audio=False).tolist() == [0]
