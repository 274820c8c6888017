"""What the test of enrolled words says of clips that are enrolled and tested, and of draws that are all alike."""

from data.manifests import register
from tests.conftest import infer


def test_clips_that_are_enrolled_and_tested_are_told(run, words, runs, encoder, tmp_path):
    train, test = words.folder / "train.json", words.folder / "test.json"
    mixed = words.folder / "mixed.json"  # beside the others, whose paths it has
    bed = [line for line in train.read_text().splitlines() if '"bed"' in line][:3]
    mixed.write_text(test.read_text() + "".join(f"{line}\n" for line in bed))
    register("mixed", train=train, dev=words.folder / "dev.json", test=mixed, registry=tmp_path / "manifests.json")
    flags = ["--shots", "2", "--repeats=2", "--enroll", "bed", "cat"]
    done = infer(run, words, runs, *flags, "--manifest=mixed", f"--registry={tmp_path / 'manifests.json'}")
    assert done.code == 0, done.error
    assert "3 of the 13 test clips are among the clips to enrol from, too" in done.error
    assert "among the clips to enrol from" not in infer(run, words, runs, *flags).error


def test_draws_that_are_all_alike_are_told(run, words, runs, encoder):
    done = infer(run, words, runs, "--shots", "2", "12", "--repeats=3", "--enroll", "bed", "cat")
    assert done.code == 0, done.error
    assert "--shots 12: the clips of bed, cat can be drawn in 1 way only" in done.error
    assert "--shots 2:" not in done.error
