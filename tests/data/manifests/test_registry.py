"""No source takes the name, or the folder, of another data set."""

import json

import pytest

from data.base.errors import UserError
from data.manifests.registry import claim_name

COMMAND = "python -m data.folder"


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.json").write_text('{"audio_filepath": "a.wav"}\n')
    path = tmp_path / "registry.json"
    path.write_text(json.dumps({
        "10": {"train": "other/train.json", "made_by": "python -m data.libriwords --download train-clean-360"},
        "mine": {"train": "mine/train.json", "made_by": f"{COMMAND} recordings --name mine"},
        "byhand": {"train": "x.json"}, "near": {"train": "near/train.json", "made_by": f"{COMMAND}s"}}))
    return path


def test_new_names_and_ones_own_are_granted(registry, tmp_path):
    claim_name("new", tmp_path / "new", registry, COMMAND)
    claim_name("mine", tmp_path / "mine", registry, COMMAND)
    claim_name("new", tmp_path / "new", tmp_path / "nowhere.json", COMMAND)


@pytest.mark.parametrize("name", ["10", "byhand", "near"])
def test_names_of_others_are_refused(registry, tmp_path, name):
    with pytest.raises(UserError, match=f"--name '{name}'.*has another data set of that name.*choose another"):
        claim_name(name, tmp_path / name, registry, COMMAND)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../x", "/abs", "a b", " a", "a\nb", "-a", "x" * 201,
                                  "\udcff"])
def test_what_is_no_name(registry, tmp_path, name):
    with pytest.raises(UserError, match="--name"):
        claim_name(name, tmp_path / "out", registry, COMMAND)


def test_folders_of_others_are_refused(registry, tmp_path):
    with pytest.raises(UserError, match=r"--out .*other: has the manifests of the data set '10'"):
        claim_name("new", tmp_path / "other", registry, COMMAND)
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="data set '10'"):
        claim_name("new", tmp_path / "link", registry, COMMAND)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "test.json").write_text('{"weights": [1, 2]}')
    with pytest.raises(UserError, match=r"test\.json: is no manifest"):
        claim_name("new", tmp_path / "foreign", registry, COMMAND)


def test_what_a_killed_run_left_may_be_replaced(registry, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "train.json").write_text('{"audio_filepath": "a.wav", "duration": 1.0, "label": "a"}\n')
    claim_name("new", tmp_path / "new", registry, COMMAND)
