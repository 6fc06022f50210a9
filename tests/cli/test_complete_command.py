"""What a hosted notebook is given: what it lacks, and a sentence on its device."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement

from megalodon_edu import cli
from megalodon_edu.cli import complete
from megalodon_edu.kernels import availability

REQUIRES = [
    "torch<2.14,>=2.11",
    "jaxtyping>=0.3",
    'jupyterlab<5,>=4.4; extra == "lab"',
    'anywidget>=0.9.18; extra == "lab"',
    'triton<3.8,>=3.6; platform_system == "Linux" and extra == "kernels"',
    'pytest>=8.3; extra == "test"',
]


def lacking(*there):
    return complete.missing(REQUIRES, lambda name: name in there)


def test_only_what_is_missing_is_installed_and_no_jupyter():
    assert lacking("torch", "triton") == ["jaxtyping>=0.3", "anywidget>=0.9.18"]
    assert lacking("torch", "jaxtyping", "anywidget", "triton") == []


def test_a_marker_stays_and_loses_its_extra():
    [line] = lacking("torch", "jaxtyping", "anywidget")
    requirement = Requirement(line)
    assert (requirement.name, str(requirement.marker)) == ("triton", 'platform_system == "Linux"')


def test_the_package_itself_lacks_nothing_here_and_asks_for_what_its_notebooks_import():
    pytest.importorskip("anywidget")
    requires = complete.metadata.requires("megalodon-edu")
    assert complete.missing(requires, complete.is_installed) == []
    wanted = {Requirement(line).name for line in complete.missing(requires, lambda name: False)}
    assert {"torch", "numpy", "matplotlib", "jaxtyping", "safetensors", "anywidget", "triton"} <= wanted
    assert not wanted & {"jupyterlab", "notebook", "ipywidgets", "pytest", "ruff"}


@pytest.fixture
def pip(monkeypatch):
    ran = []

    def run(command):
        ran.append(command)
        return subprocess.CompletedProcess(command, pip.status)

    pip = SimpleNamespace(ran=ran, status=0)
    monkeypatch.setattr(complete, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(complete.metadata, "requires", lambda name: REQUIRES)
    return pip


def test_pip_is_called_once_and_only_where_something_is_missing(pip, monkeypatch, capsys):
    monkeypatch.setattr(complete, "is_installed", lambda name: name != "anywidget")
    assert cli.main(["complete"]) == 0
    assert pip.ran == [[sys.executable, "-m", "pip", "install", "--quiet", "anywidget>=0.9.18"]]
    assert f"PyTorch {torch.__version__}" in capsys.readouterr().out
    monkeypatch.setattr(complete, "is_installed", lambda name: True)
    assert cli.main(["complete"]) == 0
    assert len(pip.ran) == 1


def test_a_failing_pip_is_named(pip, monkeypatch, capsys):
    pip.status = 1
    monkeypatch.setattr(complete, "is_installed", lambda name: name != "jaxtyping")
    assert cli.main(["complete"]) == 1
    assert "pip could not install jaxtyping>=0.3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("capability", "words"), [(None, "No GPU here"), ((7, 5), "in PyTorch's operators"), ((9, 0), "Triton kernels run")]
)
def test_the_device_is_named(capability, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    reason = "the Triton kernels need a newer one" if capability == (7, 5) else None
    monkeypatch.setattr(availability, "why_not", lambda device: reason)
    said = complete.runtime()
    assert words in said
    assert ("A card" in said) is (capability is not None)


def test_the_sources_of_the_metadata_are_the_projects():
    """The lines that the fixture imitates are those that pip reads from pyproject.toml."""
    listed = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for names in complete.FROM_EXTRAS.values():
        assert all(f'"{name}>=' in listed for name in names)
