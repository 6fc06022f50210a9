"""The ways into the course beside `make lab`: their files hold together, and the documents name what is there."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from megalodon_edu import cli
from megalodon_edu.cli import lab, setup
from megalodon_edu.recordings import names, recording

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALLING = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")
PYTHONS = re.findall(
    r"Python :: (3\.\d+)", " ".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"])
)


def instructions():
    """The Dockerfile's instructions, each with its stage: (stage, word, rest)."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found, stage = [], ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            if word == "FROM":
                stage = rest.partition(" AS ")[2]
            found.append((stage, word, rest))
    return found


def prepares_the_course(words):
    """Whether a command is the one that installs the course and stops before JupyterLab."""
    return words == ["python", "-m", "megalodon_edu", "lab", "--no-open"] and "lab" in cli.available_commands()


def test_the_image_has_a_target_for_the_cpu_and_one_for_cuda_on_the_same_ground():
    bases = {stage: rest.partition(" AS ")[0] for stage, word, rest in instructions() if word == "FROM"}
    assert list(bases) == ["course", "cuda", "cpu"]  # the last is what `docker build .` makes
    assert bases["cuda"] == bases["cpu"] == "course"
    assert re.match(r"python:(3\.\d+)-slim", bases["course"])[1] in PYTHONS


def test_the_targets_differ_in_the_build_of_pytorch_alone(monkeypatch):
    commands = {stage: shlex.split(rest) for stage, word, rest in instructions() if word == "RUN" and stage != "course"}
    assert prepares_the_course(commands["cpu"])
    setting, *command = commands["cuda"]
    assert prepares_the_course(command)
    monkeypatch.setenv(*setting.split("="))
    index = setup.torch_cpu_index(ROOT)
    assert setup.choose_torch("", index, "linux", lambda: False, lambda index: True).arguments == ()


def test_the_image_opens_the_course_for_its_reader_and_not_for_root():
    [command] = [json.loads(rest) for _, word, rest in instructions() if word == "CMD"]
    assert command[:4] == ["python", "-m", "megalodon_edu", "lab"]
    assert {"--no-browser", "--ip=0.0.0.0", "--port=8888"} <= set(command)
    words = [word for _, word, _ in instructions()]
    assert words.index("USER") < words.index("COPY")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "runs"} <= set(ignored)
    assert not {"megalodon_edu", "notebooks", "docs", "constraints.txt", "Makefile"} & set(ignored)


def test_the_devcontainer_installs_as_make_lab_does():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["image"].rpartition(":")[2] in PYTHONS
    assert prepares_the_course(shlex.split(container["postCreateCommand"]))
    editor = container["customizations"]["vscode"]
    assert editor["settings"]["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    assert "ms-toolsai.jupyter" in editor["extensions"]


def test_lab_knows_the_option_that_the_doors_use(monkeypatch):
    asked = []
    monkeypatch.setattr(lab, "ensure_environment", lambda root, extras: asked.append(extras) or Path("python"))
    monkeypatch.setattr(lab, "_open", lambda *_: pytest.fail("opened"))
    assert cli.main(["lab", "--no-open"]) == 0
    assert asked == [lab.EXTRAS]


@pytest.mark.parametrize(
    "door", ["Colab", "Binder", "JupyterHub", "conda", "devcontainer", "Docker, CPU", "Docker, CUDA"]
)
def test_each_door_has_one_line(door):
    assert len(re.findall(rf"^\| {re.escape(door)} \| \S.* \|$", INSTALLING, re.MULTILINE)) == 1


def test_the_commands_for_docker_name_targets_that_are_there():
    stages = {stage for stage, _, _ in instructions()}
    for text in (INSTALLING, (ROOT / "Dockerfile").read_text(encoding="utf-8")):
        targets = re.findall(r"docker build --target (\w+) --tag (\S+)", text)
        assert {target for target, _ in targets} == stages - {"course"}
        for _, tag in targets:
            assert re.search(rf"docker run [^\n`]*{re.escape(tag)}\b", text)


@pytest.mark.parametrize("name", names())
def test_the_readme_says_on_which_device_a_recording_was_made(name):
    about = recording(name).about
    parts = [about, *about.get("readers", {}).values(), *about.get("streams", {}).values()]
    environment = next(part["environment"] for part in parts if "environment" in part)
    row = re.search(rf"^\| `{name}` \| .* \| (.*) \|$", README, re.MULTILINE)
    assert row, f"add {name} to the table of recordings in README.md"
    device, _, threads = row[1].partition(", ")
    assert environment["device"].startswith(device)
    assert threads in ("", f"{environment['threads']} thread{'s' * (environment['threads'] > 1)}")


def test_every_recording_of_the_readme_is_there():
    table = README.partition("## Measured")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(names())


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.stem)
def test_commands_and_links_of_the_documents_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    called = {
        name for line in code for name in re.findall(r"^(?:python -m megalodon_edu|megalodon-edu) ([a-z]+)", line)
    }
    assert called <= set(cli.available_commands())
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert "://" in target or (path.parent / target).exists(), target
