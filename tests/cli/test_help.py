import argparse
import re
import shlex
from importlib import import_module

import pytest

from megalodon_edu import cli


@pytest.mark.parametrize("name", ["train", "generate", "evaluate", "bench", "grade", "release"])
def test_help_tells_what_happens_and_shows_examples(name, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main([name, "--help"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said and f"  megalodon-edu {name}" in said and "what " in said
    assert all(len(line) <= 120 for line in said.splitlines())
    assert cli.available_commands()[name] in said


@pytest.mark.parametrize("name", ["train", "generate", "evaluate", "bench", "grade", "release"])
def test_every_example_is_a_command_that_parses(name):
    module = import_module(cli.COMMANDS[name])
    examples = [line.strip() for line in module.EPILOG.splitlines() if line.startswith("  megalodon-edu")]
    assert len(examples) >= 3
    for example in examples:
        command = shlex.split(re.split("  +", example)[0])  # an explanation may follow
        assert command[:2] == ["megalodon-edu", name]
        parser = argparse.ArgumentParser(exit_on_error=False)
        module.add_arguments(parser)
        parser.parse_args(command[2:])
