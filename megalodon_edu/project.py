"""What the project knows about itself."""

# The public address of the repository, for example "https://github.com/owner/megalodon-edu".
# While it is empty, links that need it (Colab, Binder) are hidden.
PROJECT_URL = ""


def launch_links(notebook: str, address: str = PROJECT_URL) -> str:
    """Return, as Markdown, the links that open a notebook of notebooks/ in a browser; nothing without an address.

    Colab opens a notebook by itself: there `pip install git+ADDRESS` comes first. Binder builds environment.yml.
    Raises ValueError for an address that is not on GitHub, where Colab and Binder look.
    """
    if not address:
        return ""
    host, slash, repository = address.partition("github.com/")
    if host != "https://" or not slash or repository.strip("/").count("/") != 1:
        raise ValueError(f"address must be https://github.com/OWNER/NAME or empty, got {address!r}")
    place, path = repository.strip("/"), f"notebooks/{notebook}"
    colab = f"https://colab.research.google.com/github/{place}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/{path}"
    return f"[Colab]({colab}), [Binder]({binder})"
