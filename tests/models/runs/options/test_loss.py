"""Each loss has its own defaults."""

import pytest

from data.base.errors import UserError
from models.runs.options.loss import LOSSES, resolve_loss
from models.runs.options.recipe import resolve_recipe
from tests.models.runs.options.test_options import parsed


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_has_its_own_defaults_which_flags_replace(loss):
    takes = LOSSES[loss]
    for given, found in ((["--lr=0.5"], takes | ({"loss_lr": 0.5} if "loss_lr" in takes else {})),
                         (["--margin=0.25", "--scale=20", "--loss_lr=0.3"], takes | {"margin": 0.25, "scale": 20.0,
                                                                                      "loss_lr": 0.3})):
        args = parsed("TripletEncoder", f"--loss={loss}", *given)
        resolve_recipe(args)
        resolve_loss(args)
        assert {flag: getattr(args, flag) for flag in found} == found


def test_a_loss_that_takes_a_class_once_refuses_draws_that_repeat_one():
    args = parsed("TripletEncoder", "--loss=angular_prototypical", "--data_probs=1")
    resolve_recipe(args)
    with pytest.raises(UserError, match="--data_probs 1 can draw a class twice"):
        resolve_loss(args)
