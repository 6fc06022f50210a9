"""A document: one text, its split, and where it comes from."""

from dataclasses import dataclass, field

from megalodon_edu.data.bytes import refuse_start

SPLITS = ("train", "validation", "test", "test-ood")


@dataclass(frozen=True)
class Document:
    """One text as bytes. `path` is its place in its collection, `year` is None where it is not known.

    Raises TypeError if `text` is no bytes, ValueError for an unknown split or a text that holds the start token.
    """

    title: str
    author: str
    year: int | None
    split: str
    text: bytes = field(repr=False)
    source: str
    licence: str
    path: str

    def __post_init__(self) -> None:
        """Check what everything later relies on."""
        require_split("split", self.split)
        if not isinstance(self.text, bytes):
            raise TypeError(f"text must be bytes, got {type(self.text).__name__}; encode it with text.encode()")
        refuse_start(self.path, self.text)

    @property
    def size(self) -> int:
        """The number of bytes, which is the number of tokens."""
        return len(self.text)


def require_split(name: str, value: str) -> None:
    """Raise ValueError unless `value` names a split."""
    if value not in SPLITS:
        raise ValueError(f"{name} must be one of {', '.join(SPLITS)}, got {value!r}")
