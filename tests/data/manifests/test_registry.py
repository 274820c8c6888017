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
    (tmp_path / "mine").mkdir()  # what a killed run left may be replaced
    (tmp_path / "mine" / "train.json").write_text('{"audio_filepath": "a.wav", "duration": 1.0, "label": "a"}\n')
    claim_name("mine", tmp_path / "mine", registry, COMMAND)
    claim_name("new", tmp_path / "new", tmp_path / "nowhere.json", COMMAND)


@pytest.mark.parametrize("name", ["10", "byhand", "near", "", ".", "..", "a/b", "../../x", "/abs", "a b", " a", "a\nb",
                                  "-a", "x" * 201, "\udcff"])
def test_names_of_others_and_what_is_none_are_refused(registry, tmp_path, name):
    other = "has another data set of that name.*choose another" if name in ("10", "byhand", "near") else ""
    with pytest.raises(UserError, match=f"--name .*{other}"):
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
