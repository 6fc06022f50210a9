"""Where a command takes its texts from: the word after --data."""

from megalodon_edu.data import Document, documents, enwik8, local_documents, python_sources

DATA_HELP = (
    "library: the bundled books (no download); python: the Python sources on this machine; "
    "enwik8: 100 MB of Wikipedia, downloaded once; anything else: a text file or a folder of .txt files"
)


def texts(source: str, split: str) -> tuple[Document, ...]:
    """Return the documents of one split of a source.

    Raises ValueError if the source has no documents in that split, and what the source's reader raises.
    """
    if source == "library":
        found = documents(split)
    else:
        readers = {"python": python_sources, "enwik8": enwik8}
        every = readers[source]() if source in readers else local_documents(source)
        found = tuple(document for document in every if document.split == split)
    if not found:
        raise ValueError(f"data {source!r} has no documents in the split {split!r}; choose another split")
    return found
