"""A recipe sets what no flag does; augmentations and their ranges."""

import re

import pytest

from data.base.errors import UserError
from models.runs.options.recipe import CHANCES, resolve_masks, resolve_recipe, varied
from tests.models.runs.options.test_options import parsed


def test_recipes_fill_in_only_what_was_not_given():
    args = parsed("TripletEncoder", "--recipe=fast", "--lr=0.5")
    resolve_recipe(args)
    assert (args.optimizer, args.schedule, args.lr, args.shift) == ("adamw", "onecycle", 0.5, True)
    assert args.noise_snr == (5.0, 30.0)
    args = parsed("TripletEncoder", "--recipe=fast", "--no-shift", "--noise_snr", "1", "2")
    resolve_recipe(args)
    assert args.shift is False and tuple(args.noise_snr) == (1, 2)
    args = parsed("TripletEncoder", "--augment")
    resolve_recipe(args)
    assert (args.optimizer, args.shift) == ("novograd", True)


def test_the_papers_recipe_masks_speech_commands_always_and_nothing_else():
    for flags, speech_commands, wanted in (
            ([], True, "full"), (["--augment"], True, "full"), ([], False, "off"), (["--recipe=fast"], True, "off"),
            (["--spec_augment=off"], True, "off"), (["--recipe=fast", "--spec_augment"], False, "full")):
        args = parsed("TripletEncoder", *flags)
        resolve_recipe(args)
        resolve_masks(args, speech_commands)
        assert args.spec_augment == wanted


@pytest.mark.parametrize("flag", CHANCES)
def test_a_probability_is_a_flags_own_or_the_one_given(flag):
    for given, wanted in (([], 0), ([f"--{flag}"], None), ([f"--{flag}=0.25"], 0.25), ([f"--{flag}=0"], 0)):
        args = parsed("TripletEncoder", *given, "--no-shift")
        resolve_recipe(args)
        resolve_masks(args, False)
        found = getattr(args, flag)
        assert found == wanted if wanted is not None else 0 < found < 1
        assert varied(args) == (found > 0)


@pytest.mark.parametrize("flags, said", [(["--lr=1e-5"], "--lr_end 8e-05 is above --lr 1e-05"),
                                         (["--noise_snr", "30", "5"], "--noise_snr 30 5"),
                                         (["--babble", "--babble_snr", "9", "8"], "--babble_snr 9 8")])
def test_contradictions(flags, said):
    with pytest.raises(UserError, match=re.escape(said)):
        resolve_recipe(parsed("TripletEncoder", *flags))
