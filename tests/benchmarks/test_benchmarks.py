"""The benchmarks run, on next to nothing, and print what they promise. Nothing here asserts how long anything took."""

import json
import subprocess
import sys

import pytest

from benchmarks.measure import Timing, table
from data.base.files import ROOT


@pytest.mark.parametrize(("command", "columns"), [
    (["step", "--models=Res8", "--per_class=2", "--repeats=2"], {"step", "step / limit", "plain / ours"}),
    (["knn", "--train", "300", "--queries=20", "--repeats=2"], {"time", "scikit-learn / this"}),
    (["spotting", "--models", "Res8", "Res8+constant", "--widths=8", "--threads=1", "--seconds=2", "--repeats=1"],
     {"times real time"})])
def test_a_table_and_its_json(command, columns, tmp_path):
    path = tmp_path / "table.json"
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{command[0]}", *command[1:], f"--json={path}"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert rows and columns <= set(rows[0]) and all(column in done.stdout for column in columns)


def test_a_row_may_lack_columns_and_a_timing_is_median_and_spread():
    lines = table([{"what": "a", "time": Timing([1.0, 2.0, 4.0])}, {"what": "b", "size": 12_345}])
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[::2]] == [
        ["what", "time", "size"], ["a", "2.00 s ± 75 %", ""]]
    assert "12,345" in lines[3]
