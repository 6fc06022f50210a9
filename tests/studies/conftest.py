import pytest

from megalodon_edu.studies import ablations, comparison, text_run
from megalodon_edu.studies.jobs import JobsReport


@pytest.fixture
def in_this_process(monkeypatch):
    """Make the runs of a study here, one after another, without a process for each; returns the names made."""
    made = []

    def run_here(jobs, at_once, logs, seconds=None):
        for job in jobs:
            if not job.result.exists():
                assert job.arguments[:2] == ("-m", "megalodon_edu.studies.text_run")
                text_run.main(job.arguments[2:])
                made.append(job.name)
        return JobsReport(tuple(job.name for job in jobs), (), ())

    for module in (ablations, comparison):
        monkeypatch.setattr(module, "run_jobs", run_here)
    return made
