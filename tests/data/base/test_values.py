"""Every number that a flag takes is refused by the parser where no run could use it."""

import pytest

from models.runs.options.common import Parser
from tests.models.runs.test_options import REQUIRED, SCRIPTS, parsed


def numeric(script):
    """The flags of a script that take numbers, and how many."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Parser, "parse", lambda parser, argv: parser)
        actions = parsed(script)._actions
    return [(action.option_strings[-1], action.nargs if isinstance(action.nargs, int) else 1)
            for action in actions if action.type not in (None, str) and "dir" not in action.dest
            and action.dest not in ("registry", "data_probs", "html", "rooms")]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "-inf", "1e400", "-1e400", "-1", "x", "", "1e-400x"])
def test_no_number_is_not_one(script, value, capsys):
    flags = numeric(script)
    assert len(flags) >= 4
    for flag, number in flags:
        with pytest.raises(SystemExit) as stop:
            values = ["-200" if value == "-1" else value] * number if number > 1 else [value]
            parsed(script, *REQUIRED[script], *([f"{flag}={values[0]}"] if number == 1 else [flag, *values]))
        assert stop.value.code == 2
        assert flag in capsys.readouterr().err


@pytest.mark.parametrize("flag, bad, good", [
    ("--clip_seconds", ["0", "0.05", "1e9"], ["0.1", "2.5"]), ("--lr", ["0", "1e30", "1e-400"], ["1e-9", "10"]),
    ("--num_steps", ["0", "1.5", str(10**30)], ["1", "1000000"]), ("--hidden_size", ["0", str(10**9)], ["1", "512"]),
    ("--warmup", ["1", "1.5"], ["0", "0.99"]), ("--margin", ["0", "1e300"], ["0.1"]),
    ("--reverb", ["-0.1", "1.01"], ["0", "0.25", "1"]),
    ("--seed", ["1e3", "-5"], ["0", str(2**70)])])
def test_tiny_and_huge_numbers(flag, bad, good, capsys):
    for value in bad:
        with pytest.raises(SystemExit):
            parsed("TripletEncoder", f"{flag}={value}")
        assert flag in capsys.readouterr().err
    for value in good:
        assert getattr(parsed("TripletEncoder", f"{flag}={value}"), flag[2:]) == pytest.approx(float(value))
