"""Each loss has its own flags and defaults."""

import pytest

from data.base.errors import UserError
from models.runs.options.loss import LOSSES, resolve_loss
from models.runs.options.recipe import resolve_recipe
from tests.models.runs.options.test_options import parsed


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_has_its_own_defaults_and_takes_no_other_flags(loss):
    args = parsed("TripletEncoder", f"--loss={loss}", "--lr=0.5")
    resolve_recipe(args)
    resolve_loss(args)
    takes = LOSSES[loss]
    for flag, value in (("margin", "0.25"), ("mining", "hardest"), ("scale", "20"), ("loss_lr", "0.3")):
        assert getattr(args, flag) == (0.5 if flag == "loss_lr" and flag in takes else takes.get(flag))
        given = parsed("TripletEncoder", f"--loss={loss}", f"--{flag}={value}")
        resolve_recipe(given)
        if flag in takes:
            resolve_loss(given)
            assert str(getattr(given, flag)).removesuffix(".0") == value
        else:
            with pytest.raises(UserError, match=f"--{flag} has no meaning with --loss {loss} .*leave it out"):
                resolve_loss(given)


def test_a_rate_of_the_loss_below_the_last_one_is_refused():
    args = parsed("TripletEncoder", "--loss=angular_prototypical", "--loss_lr=1e-9")
    resolve_recipe(args)
    with pytest.raises(UserError, match="--loss_lr 1e-09 is below --lr_end 8e-05"):
        resolve_loss(args)


def test_a_loss_that_takes_a_class_once_refuses_draws_that_repeat_one():
    args = parsed("TripletEncoder", "--loss=angular_prototypical", "--data_probs=1")
    resolve_recipe(args)
    with pytest.raises(UserError, match="--data_probs 1 can draw a class twice"):
        resolve_loss(args)
