"""The process that trains a head; tests/test_scripts.py has the heads."""

from models.training import heads

SCRIPT = """
import os, pathlib, signal, sys, time

def end(number, frame):
    signal.signal(number, signal.SIG_DFL)
    time.sleep(1)
    print("saved")
    sys.exit(143)

signal.signal(signal.SIGTERM, end)
print(sys.argv[1:], [name for name in os.environ if "TORCHELASTIC" in name])
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_a_signal_reaches_the_heads_training_once(tmp_path, monkeypatch):
    (tmp_path / "TripletClassifier.py").write_text(SCRIPT)
    monkeypatch.setattr(heads, "ROOT", tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "of torchrun, which did not start it")
    begun = tmp_path / "begun"
    assert heads._run([str(begun)], begun.exists) == (143, f"['{begun}'] []\nsaved\n")
