"""What the project knows about itself."""

import re
from urllib.parse import quote

# The public address of the repository, for example "https://github.com/owner/megalodon-edu".
# While it is empty, links that need it (Colab, Binder) are hidden, and on Colab the first cell takes an uploaded wheel.
# After a change, `megalodon-edu notebooks address` brings the notebooks and README.md up to date.
PROJECT_URL = ""

COPIES = "on_a_gpu"
"""The folder in notebooks/ with the chapters that a machine with a GPU ran."""


def launch_links(notebook: str, address: str = PROJECT_URL) -> str:
    """Return, as Markdown, the links that open a notebook of notebooks/ in a browser; nothing without an address.

    Colab opens a notebook by itself, and `first_lines` install the course there. Binder builds environment.yml.
    Raises ValueError for an address that is not on GitHub, where Colab and Binder look.
    """
    if not address:
        return ""
    place, path = _on_github(address), f"notebooks/{notebook}"
    colab = f"https://colab.research.google.com/github/{place}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/{path}"
    return f"[Colab]({colab}), [Binder]({binder})"


def with_launch_links(text: str, address: str = PROJECT_URL) -> str:
    """Return a Markdown text in which `launch_links` stand after every link to a notebook, in the place of older ones.

    Raises ValueError as `launch_links` does.
    """

    def both(match: re.Match[str]) -> str:
        links = launch_links(match[2], address)
        return f"{match[1]} ({links})" if links else match[1]

    return re.sub(r"(\]\(notebooks/([^)/]+\.ipynb)\))(?: \(\[Colab\]\(\S+\), \[Binder\]\([^)\s]+\)\))?", both, text)


def hub_link(hub: str, address: str = PROJECT_URL) -> str:
    """Return the link that fetches the notebooks into a user's folder on a JupyterHub with nbgitpuller, and opens them.

    `hub` is the hub's own address, for example "https://hub.example.edu". Raises ValueError for an address that is not
    on GitHub.
    """
    place = _on_github(address)
    start = quote(f"lab/tree/{place.split('/')[1]}/notebooks/index.ipynb", safe="")
    repository = quote(f"https://github.com/{place}", safe="")
    return f"{hub.rstrip('/')}/hub/user-redirect/git-pull?repo={repository}&branch=main&urlpath={start}"


def first_lines(address: str = PROJECT_URL) -> str:
    """Return the lines that begin the first code cell of every notebook: where the course is missing, they install it.

    Without an address they take the wheel that lies beside the notebook.
    """
    source = f"git+https://github.com/{_on_github(address)}" if address else "megalodon_edu-*.whl"
    return f"""\
from importlib.util import find_spec

if find_spec("megalodon_edu") is None:  # on Colab, for example; where the course is installed, nothing happens
    get_ipython().run_line_magic("pip", "install --quiet --no-deps {source}")
    get_ipython().run_line_magic("run", "-m megalodon_edu complete")
"""


def _on_github(address: str) -> str:
    """Return OWNER/NAME."""
    host, slash, repository = address.partition("github.com/")
    if host != "https://" or not slash or repository.strip("/").count("/") != 1:
        raise ValueError(f"address must be https://github.com/OWNER/NAME or empty, got {address!r}")
    return repository.strip("/")
