"""The benchmarks run, on next to nothing, and print what they promise. Nothing here asserts how long anything took."""

import json
import subprocess
import sys

import pytest

from data.manifests import ROOT

SMALL = ["--models=Res8", "--per_class=2", "--repeats=2"]


def benchmark(*command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_profile_shows_the_parts_of_a_step(tmp_path):
    printed = benchmark("benchmarks.step", *SMALL, "--profile", f"--trace={tmp_path / 'trace.json'}")
    assert "Self CPU" in printed and "trace.json" in printed
    events = [event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]]
    for part in ("front end", "forward"):
        assert events.count(part) >= 2, part  # once in each of the steps


@pytest.mark.parametrize(("command", "columns"), [
    (["benchmarks.step", *SMALL], {"step", "limit", "step / limit", "not network", "plain / ours"}),
    (["benchmarks.miner", "--classes=4", "--per_class", "3", "--repeats=2"], {"miner", "original-style loop / miner"}),
    (["benchmarks.knn", "--train", "300", "--queries=20", "--repeats=1"], {"time", "scikit-learn / this"}),
    (["benchmarks.growth", "--words", "20", "40", "--repeats=1", "--textgrids"], {"what", "size", "time"})])
def test_a_table_and_its_json(command, columns, tmp_path):
    printed = benchmark(*command, f"--json={tmp_path / 'table.json'}")
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert rows and columns <= set(rows[0]) and all(f" {column} |" in printed for column in columns)
