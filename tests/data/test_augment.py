"""Time shift, speed, noise and rooms, each held against an oracle."""

import numpy as np
import pytest
import soundfile
import torch

from data.audio.files import sound_file
from data.audio.rooms import RT60, impulse_responses
from data.augment import NoiseBank, Reverb, babble, band_limit, change_gain, change_speed, time_shift
from data.base.errors import UserError

SAMPLES = 4000  # of a clip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(300, SAMPLES, generator=seeded(1)) * 0.1


def shifts_found(clips: torch.Tensor, moved: torch.Tensor, most: int) -> list[int]:
    """The shift of each clip, by trying all; fails where none explains the outcome to the bit."""
    found = []
    for clip, outcome in zip(clips.numpy(), moved.numpy(), strict=True):
        fitting = []
        for shift in range(-most, most + 1):
            expected = np.zeros_like(clip)
            if shift >= 0:
                expected[shift:] = clip[:len(clip) - shift]
            else:
                expected[:shift] = clip[-shift:]
            if np.array_equal(outcome, expected):
                fitting.append(shift)
        assert len(fitting) == 1
        found.append(fitting[0])
    return found


def test_shift_is_a_whole_number_of_samples_with_zeros_moving_in(clips):
    found = shifts_found(clips, time_shift(clips, seeded(), most=20, probability=1.0), most=20)
    assert set(found) == set(range(-20, 21))  # both ends and all between: 300 clips, 41 values
    assert abs(np.mean(found)) < 4 * 20 / np.sqrt(3 * len(found))


def test_shift_of_up_to_100_ms_by_default():
    clip = torch.arange(1.0, 16001.0).repeat(2000, 1)  # sample i holds i + 1: its new place tells the shift
    moved = time_shift(clip, seeded(), probability=1.0)
    middle = (moved[:, 8000] - clip[:, 8000]).int()
    assert middle.min() < -1550 and middle.max() > 1550 and middle.abs().max() <= 1600


def test_speed_against_interpolation_in_numpy(clips):
    quick = change_speed(clips.double(), seeded(), most=0.15).numpy()
    speeds = torch.empty(len(clips), 1).uniform_(0.85, 1.15, generator=seeded()).double().numpy()[:, 0]
    centre, at = (SAMPLES - 1) / 2, np.arange(SAMPLES)
    for clip, outcome, speed in zip(clips.double().numpy(), quick, speeds, strict=True):
        expected = np.interp(centre + (at - centre) * speed, at, clip, left=0, right=0)
        assert np.abs(outcome - expected).max() < 1e-3  # source positions are float32
    assert speeds.min() < 0.86 and speeds.max() > 1.14


@pytest.fixture
def folder(tmp_path):
    """Three noises: long, just a clip long, and shorter than a clip."""
    rng = np.random.default_rng(0)
    for name, length, level in (("long.wav", 9000, 0.3), ("exact.flac", SAMPLES, 0.05), ("short.wav", 700, 0.01)):
        soundfile.write(tmp_path / name, rng.normal(0, level, length).clip(-1, 1), 16000)
    (tmp_path / "README.md").write_text("no audio")
    return tmp_path


def snr_db(clips: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    signal, noise = clips.double(), noisy.double() - clips.double()
    return 10 * torch.log10(signal.square().mean(1) / noise.square().mean(1))


@pytest.mark.parametrize("wanted", [-5.0, 17.5])
def test_measured_ratio_is_the_one_asked_for(folder, clips, wanted):
    clips = clips * torch.logspace(-3, 0.5, len(clips))[:, None]  # quiet and loud ones
    noisy = NoiseBank(folder, SAMPLES, (wanted, wanted), probability=1.0)(clips, seeded())
    assert (snr_db(clips, noisy) - wanted).abs().max() < 0.1
    assert not NoiseBank(folder, SAMPLES).state_dict()  # recordings have no place in a checkpoint


def test_what_is_added_is_an_excerpt_of_a_noise(folder, clips):
    noises = []
    for path in sorted(folder.glob("*.*a[vc]")):
        noise = soundfile.read(path)[0]
        noises.append(np.resize(noise, max(len(noise), SAMPLES)))
    added = (NoiseBank(folder, SAMPLES, probability=1.0)(clips, seeded()) - clips).double().numpy()
    used, starts = [], []
    for row in added:
        best = (0.0, -1, -1)
        for i, noise in enumerate(noises):
            # Normalised cross-correlation with every excerpt: 1 where the row is that excerpt, scaled.
            energy = np.convolve(noise**2, np.ones(SAMPLES), "valid")
            product = np.fft.irfft(np.fft.rfft(noise) * np.fft.rfft(row, len(noise)).conj(), len(noise))
            likeness = product[:len(energy)] / np.sqrt(energy * (row**2).sum())
            best = max(best, (likeness.max(), i, int(likeness.argmax())))
        assert best[0] > 0.9999
        used.append(best[1])
        starts.append(best[2])
    assert set(used) == {0, 1, 2}
    assert all(start == 0 for i, start in zip(used, starts, strict=True) if len(noises[i]) == SAMPLES)
    long = [start for i, start in zip(used, starts, strict=True) if len(noises[i]) == 9000]
    assert min(long) < 500 and max(long) > 4500  # from all over it


def test_a_batch_equals_its_clips_one_by_one(folder, clips):
    """Seen alone, all others silenced, each clip comes out the same: nothing is taken over the batch."""
    bank = NoiseBank(folder, SAMPLES)
    for augment in (lambda batch: time_shift(batch, seeded(7), most=50), lambda batch: bank(batch, seeded(7)),
                    lambda batch: Reverb(SAMPLES, 0.7)(batch, seeded(7))):
        together = augment(clips)
        for i in (0, 1, 17, 299):
            alone = torch.zeros_like(clips)
            alone[i] = clips[i]
            torch.testing.assert_close(augment(alone)[i], together[i], atol=1e-7, rtol=1e-6)


def test_a_silent_stretch_of_noise_adds_nothing(tmp_path, clips):
    soundfile.write(tmp_path / "click.wav", np.concatenate([np.zeros(200_000), [0.5]]), 16000)
    noisy = NoiseBank(tmp_path, SAMPLES, probability=1.0)(clips, seeded())
    assert noisy.isfinite().all()
    assert (noisy == clips).all(1).float().mean() > 0.9


def test_a_folder_without_usable_noise(tmp_path):
    for name, content in (("nowhere", None), ("notes.txt", b"no audio"), ("empty.wav", b""), ("bad.wav", b"RIFFxxxx"),
                          ("silent.wav", sound_file(np.zeros(SAMPLES, np.int16), "WAV"))):
        folder = tmp_path / f"noise{name}"
        if content is not None:
            folder.mkdir()
            (folder / name).write_bytes(content)
        with pytest.raises(UserError, match="noise"):
            NoiseBank(folder, SAMPLES)


LABELS = torch.arange(300) // 3
NAMES = ("rooms", "gain", "band_limit", "babble", "shift", "noise")


def augmentation(name: str, probability: float, folder):
    """One of `NAMES`, as a function of clips and generator."""
    return {"rooms": lambda: Reverb(SAMPLES, probability),
            "noise": lambda: NoiseBank(folder, SAMPLES, probability=probability),
            "gain": lambda: lambda x, g: change_gain(x, g, (-20.0, 10.0), probability),
            "shift": lambda: lambda x, g: time_shift(x, g, 1_600, probability),
            "band_limit": lambda: lambda x, g: band_limit(x, g, probability),
            "babble": lambda: lambda x, g: babble(x, LABELS[:len(x)].to(x.device), g, (5.0, 20.0), probability)}[name]()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.3, 0.2, 0.4), (1.0, 0.99, 1)])
def test_share_of_clips_changed(clips, folder, name, probability, low, high):
    before = clips.clone()
    outcome = augmentation(name, probability, folder)(clips, seeded())
    changed = (outcome != clips).any(1)
    assert low <= changed.float().mean() <= high
    assert torch.equal(outcome[~changed], clips[~changed])  # to the bit
    assert torch.equal(clips, before) and outcome.dtype == clips.dtype


@pytest.mark.parametrize("name", NAMES)
def test_seed_alone_decides_and_silence_stays_silent(clips, folder, name):
    work = augmentation(name, 0.7, folder)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = work(clips, seeded(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(work(clips, seeded(3)), first) and not torch.equal(work(clips, seeded(4)), first)
    assert torch.equal(work(torch.zeros(30, SAMPLES), seeded()), torch.zeros(30, SAMPLES))
    clips[::2] = 0
    mixed = work(clips, seeded())
    assert mixed.isfinite().all() and (mixed[::2] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_they_are_the_same_on_a_gpu(clips, folder, name):
    work = augmentation(name, 0.5, folder)
    expected = work(clips, seeded(1))
    if name == "rooms":
        work.to("cuda")
    torch.testing.assert_close(work(clips.cuda(), seeded(1)).cpu(), expected, atol=1e-6, rtol=1e-4)


def test_gain_is_drawn_over_its_range_and_saturates_at_full_scale_and_by_6_db_at_most(clips):
    outcome = change_gain(clips * 0.1, seeded(), (-20.0, 10.0), 1.0)
    decibels = 10 * torch.log10(outcome.square().mean(1) / (0.1 * clips).square().mean(1))
    wanted = torch.empty(len(clips), 1).uniform_(-20, 10, generator=seeded())[:, 0]
    assert (decibels - wanted).abs().max() < 1e-3
    assert wanted.min() < -19 and wanted.max() > 9
    tone = torch.sin(torch.arange(SAMPLES) * 0.1).repeat(4, 1) * torch.tensor([[0.5], [0.9], [0.1], [3.0]])
    outcome = change_gain(tone, seeded(), (10.0, 10.0), 1.0)
    for clip, wanted in zip(outcome, (0.5 * 10**0.5, 2, 0.1 * 10**0.5, 2), strict=True):
        expected = (torch.sin(torch.arange(SAMPLES) * 0.1) * wanted).clamp(-1, 1)
        assert (clip - expected).abs().max() < 1e-3


def test_bands_are_cut_off_where_they_were_drawn():
    """White noise in, the response out: low-pass, high-pass and both, each from its range, without a shift in time."""
    click = torch.zeros(600, 16_000)
    click[:, 8000] = 1
    outcome = band_limit(click, seeded(), 1.0)
    response = torch.fft.rfft(outcome).abs()  # (B, 8001), a bin is 1 Hz
    assert (outcome.abs().argmax(1) == 8000).all()
    assert (response <= 1.001).all() and (response[:, 1000:2000] > 0.95).all()
    half = response > 0.5**0.5
    cut_low, cut_high = ~half[:, 50], ~half[:, 7500]
    assert 0.26 < (cut_low & ~cut_high).float().mean() < 0.4 and 0.26 < (cut_high & ~cut_low).float().mean() < 0.4
    assert (cut_low | cut_high).all()
    lowest, highest = half.int().argmax(1)[cut_low], 8000 - half.flip(1).int().argmax(1)[cut_high]
    assert 99 <= lowest.min() < 110 and 450 < lowest.max() <= 501
    assert 2499 <= highest.min() < 2600 and 6800 < highest.max() <= 7001
    octave = response[cut_high][torch.arange(int(cut_high.sum())), (highest * 8 // 7).clamp(max=8000)]
    assert octave.max() < 0.5  # a wall: a fifth of an octave on, half or less


def test_voices_have_the_ratio_asked_for_and_are_of_other_classes(clips):
    """Each class has a frequency of its own, so what was added tells which classes it came from."""
    t = torch.arange(SAMPLES) / SAMPLES
    labels = torch.arange(60) % 12
    tones = torch.sin(2 * torch.pi * (100 + 20 * labels[:, None]) * t) * 0.2
    for wanted in (0.0, 12.0):
        mixed = babble(tones, labels, seeded(), (wanted, wanted), 1.0)
        assert (snr_db(tones, mixed) - wanted).abs().max() < 0.01
    added = torch.fft.rfft(mixed - tones).abs()[:, 100:340:20]  # (60, 12), by class
    heard = added > 0.05 * added.amax(1, keepdim=True)
    assert not heard[torch.arange(60), labels].any()
    assert set(heard.sum(1).tolist()) == {1, 2, 3}


def test_voices_come_at_random_times_and_of_one_class_there_are_none(clips):
    burst = torch.zeros(300, SAMPLES)
    burst[:, 1990:2010] = 0.5
    mixed = babble(burst, LABELS, seeded(), (0.0, 0.0), 1.0)
    where = (mixed - burst).abs().argmax(1)
    assert where.min() < 200 and where.max() > SAMPLES - 200
    for batch in (1, 20):
        outcome = babble(clips[:batch], torch.zeros(batch, dtype=torch.int64), seeded(), (5.0, 20.0), 1.0)
        assert torch.equal(outcome, clips[:batch])


@pytest.mark.parametrize("asked", [0.15, 0.3, 0.6, 1.8])
def test_energy_decays_by_60_db_in_the_time_asked_for(asked):
    """Schroeder's backward integral, its slope between 5 and 25 dB below where the late part begins (T20)."""
    responses, seconds = impulse_responses(40, 32_000, np.random.default_rng(0), (asked, asked))
    assert np.array_equal(seconds, np.full(40, asked))
    late = responses[:, 480:].astype(float)  # after all single reflections
    decay = 10 * np.log10(np.cumsum(late[:, ::-1] ** 2, 1)[:, ::-1])
    decay -= decay[:, :1]
    found = []
    for curve in decay:
        first, last = (int(np.argmax(curve < level)) for level in (-5, -25))
        found.append(-60 / (np.polyfit(np.arange(first, last) / 16_000, curve[first:last], 1)[0]))
    assert np.mean(found) == pytest.approx(asked, rel=0.05)
    assert np.allclose(found, asked, rtol=0.3)


def test_direct_path_comes_first_nothing_later_is_louder_and_rooms_are_near_and_far():
    responses, seconds = impulse_responses(300, 8000, np.random.default_rng(0))
    assert responses.dtype == np.float32 and responses.shape == (300, 8000)
    assert (responses[:, 0] >= 1).all() and (np.abs(responses).argmax(1) == 0).mean() > 0.95
    assert seconds.min() < RT60[0] + 0.05 and seconds.max() > RT60[1] - 0.05
    # A reflection or two within 10 ms, as of a desk or a wall, and silence between them before the mixing time.
    early = (responses[:, 1:32] != 0).sum(1)
    assert early.max() <= 6 and early.mean() > 0.5
    # Microphones within the critical distance and far beyond it.
    ratio = 10 * np.log10(responses[:, 0] ** 2 / (responses[:, 1:] ** 2).sum(1))
    assert np.percentile(ratio, 10) < -3 and np.percentile(ratio, 90) > 3
    assert ratio.min() > -20 and ratio.max() < 40


def test_long_reverberation_is_of_larger_rooms_in_which_the_talker_is_as_near():
    """In a room of today's sizes, 2 s of reverberation would drown a talker 2 m away."""
    def clarity(rt60: tuple[float, float]) -> np.ndarray:  # C50, dB
        power = impulse_responses(400, 32_000, np.random.default_rng(3), rt60)[0].astype(float) ** 2
        return 10 * np.log10(power[:, :800].sum(1) / power[:, 800:].sum(1))
    usual, long = clarity(RT60), clarity((2.0, 2.0))
    assert np.median(long) < np.median(usual) - 5
    assert -3 < np.median(long) < 5 and np.percentile(long, 5) > -8
    bank = Reverb(48_000, 1.0, rt60=(0.2, 2.4)).responses
    assert bank.shape[1] == 32_000 and Reverb(16_000, 1.0, rt60=(0.2, 2.4)).responses.shape[1] == 16_000
    assert (bank[:, 24_000:] != 0).any(1).all()


def test_late_sound_is_as_loud_as_a_diffuse_field():
    """Barron & Lee, 1988: reverberant energy 31,200 T / V in units of the direct sound's at 10 m."""
    rng = np.random.default_rng(0)
    responses, seconds = impulse_responses(600, 16_000, rng, (0.4, 0.4))
    again = np.random.default_rng(0)
    room = again.uniform((2.0, 2.5, 2.2), (7.0, 8.0, 3.5), (600, 3))
    volume = room.prod(1)
    late = (responses[:, 480:].astype(float) ** 2).sum(1)
    again.uniform(0.4, 0.4, (600, 1))
    microphone, talker = (again.uniform(0.3, room - 0.3) for _ in range(2))
    talker = microphone + (talker - microphone) * again.uniform(0, 1, (600, 1))
    distance = np.linalg.norm(talker - microphone, axis=1).clip(0.3)
    from_30_ms = 31_200 * seconds / volume / 100 * 10 ** (-6 * (0.03 + distance / 343) / seconds)
    assert np.mean(late / distance**2 / from_30_ms) == pytest.approx(1, rel=0.03)


def test_clips_are_convolved_with_the_room_drawn_and_keep_their_level(clips):
    reverb = Reverb(SAMPLES, 1.0)
    wet = reverb(clips, seeded(5)).double().numpy()
    rooms = torch.randint(len(reverb.responses), (len(clips),), generator=seeded(5))
    for clip, outcome, room in zip(clips.double().numpy(), wet, rooms, strict=True):
        expected = np.convolve(clip, reverb.responses[room].double().numpy())[:SAMPLES]
        expected *= np.sqrt((clip**2).mean() / (expected**2).mean())
        assert np.abs(outcome - expected).max() < 1e-5 * np.abs(expected).max()
        assert (outcome**2).mean() == pytest.approx((clip**2).mean(), rel=1e-4)
    assert len(rooms.unique()) > 40
    # A click's direct path does not move, and nothing comes before it.
    click = torch.zeros(50, SAMPLES)
    click[:, 1000] = 1
    wet = reverb(click, seeded())
    assert (wet.abs().argmax(1) == 1000).float().mean() > 0.9
    assert wet[:, :1000].abs().max() < 1e-6


def test_measured_rooms_are_those_of_the_recordings_and_what_is_none_is_named(tmp_path):
    """One a channel, resampled, from the highest peak on, which is 1: a clip stays where it is, and is convolved."""
    rng = np.random.default_rng(0)
    decay = rng.standard_normal((30_000, 2)) * np.exp(-np.arange(30_000) / 4_000)[:, None] * 0.1
    decay[500], decay[700, 1] = (0.8, 0.1), -0.9  # direct paths, 500 and 700 samples late
    soundfile.write(tmp_path / "hall.wav", decay, 48_000, "FLOAT")
    reverb = Reverb(SAMPLES, 1.0, folder=tmp_path)
    responses = reverb.responses.double().numpy()
    assert responses.shape == (2, SAMPLES)
    np.testing.assert_allclose(responses[:, 0], 1)
    assert (np.abs(responses).max(1) <= 1.0001).all() and np.abs(responses[:, 3_900:]).max() < 0.05
    clips = torch.zeros(6, SAMPLES)
    clips[:, 500] = 0.5
    wet = reverb(clips, seeded(5)).double().numpy()
    rooms = torch.randint(2, (6,), generator=seeded(5))
    assert len(set(rooms.tolist())) == 2
    for clip, room in zip(wet, rooms, strict=True):
        assert np.abs(clip).argmax() == 500
        np.testing.assert_allclose(clip[500:] / clip[500], responses[room][:SAMPLES - 500], atol=1e-4)
    assert reverb.digest != Reverb(SAMPLES // 2, 1.0, folder=tmp_path).digest and Reverb(SAMPLES, 1.0).digest is None
    soundfile.write(tmp_path / "mute.wav", np.zeros(100), 16_000)
    for folder, message in ((tmp_path, r"mute\.wav: is silent"), (tmp_path / "no", "no recordings of room responses")):
        with pytest.raises(UserError, match=message):
            Reverb(SAMPLES, 1.0, folder=folder)
