"""Two tests are compared on the same clips or not at all."""

import numpy as np
import pytest

from data.base.errors import UserError
from experiments import paired


def write(path, rows, header=("path", "label", "prediction", "probability")):
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return path


@pytest.fixture
def made(tmp_path):
    """Sixty clips of three words of 40, 15 and 5 clips, and two tests that err where chance says."""
    rng = np.random.default_rng(0)
    labels = ["yes"] * 40 + ["no"] * 15 + ["up"] * 5
    tests = [[(f"{label}/{i}.wav", label, label if rng.random() > error else "down", "0.5")
              for i, label in enumerate(labels)] for error in (0.2, 0.5)]
    return write(tmp_path / "a.csv", tests[0]), write(tmp_path / "b.csv", tests[1][::-1]), tests


def said(capsys, *paths):
    assert paired.main(paired.parse_args([str(path) for path in paths])) == 0
    return capsys.readouterr().out


def test_figures_are_those_of_a_count_by_hand_whatever_the_clips_order(made, capsys):
    from scipy.stats import binomtest

    a, b, tests = made
    right = [[row[1] == row[2] for row in rows] for rows in tests]
    only = [sum(x and not y for x, y in zip(*pair, strict=True)) for pair in (right, right[::-1])]
    lines = said(capsys, a, b).splitlines()
    for line, name, of, alone in zip(lines[2:4], ("a.csv", "b.csv"), right, only, strict=True):
        recalls = [np.mean(of[start:end]) for start, end in ((0, 40), (40, 55), (55, 60))]
        assert line == (f"| {name} | {100 * np.mean(of):.2f} | {100 * np.mean(recalls):.2f} | {sum(of)} of 60 "
                        f"| {alone} |")
    assert lines[4] == f"McNemar p {binomtest(only[0], sum(only)).pvalue:.2g}"
    assert min(only) > 0
    assert said(capsys, a, a).endswith("McNemar p 1\n")


def test_words_cut_from_one_recording_are_told_apart_by_their_offset(tmp_path, capsys):
    header = ("path", "offset", "label", "prediction")
    a = write(tmp_path / "a.csv", [("x.wav", "0.1", "a", "a"), ("x.wav", "0.5", "b", "a")], header)
    b = write(tmp_path / "b.csv", [("x.wav", "0.5", "b", "b"), ("x.wav", "0.1", "a", "b")], header)
    assert "| a.csv | 50.00 | 50.00 | 1 of 2 | 1 |\n| b.csv | 50.00 | 50.00 | 1 of 2 | 1 |" in said(capsys, a, b)


@pytest.mark.parametrize(("change", "message"), [
    (lambda rows: rows[1:], r"a\.csv and .*b\.csv differ in 1 clips or labels, such as yes/0\.wav"),
    (lambda rows: [(rows[0][0], "no", "no", "1"), *rows[1:]], r"differ in 2 clips or labels"),
    (lambda rows: [*rows, rows[0]], r"b\.csv: not the \.csv.*twice"), (lambda rows: [], r"b\.csv.*no clips"),
    (lambda rows: [*rows[:3], rows[3][:2]], "half a line"),
    (lambda rows: [('"open', "b", "c", "d")], r"b\.csv: not the \.csv"),
])
def test_tests_of_other_clips_are_refused(made, change, message):
    a, b, tests = made
    write(b, change(tests[1]))
    with pytest.raises(UserError, match=message):
        paired.main(paired.parse_args([str(a), str(b)]))


def test_what_is_no_table_of_clips_is_refused_in_one_line(made, tmp_path):
    other = write(tmp_path / "other.csv", [("1", "2")], ("step", "loss"))
    for path, named in ((other, "'path'"), (tmp_path / "none.csv", "cannot read"), (tmp_path, "cannot read")):
        with pytest.raises(UserError, match=named) as raised:
            paired.main(paired.parse_args([str(made[0]), str(path)]))
        assert str(path) in str(raised.value) and "\n" not in str(raised.value)
