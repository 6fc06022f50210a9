"""Bytes as tokens: the vocabulary is the 256 bytes, and a text in UTF-8 is already a sequence of tokens."""

import numpy as np
import numpy.typing as npt

VOCABULARY = 256
START = 0
"""The token that begins every document. Text in UTF-8 uses the byte 0 for nothing else, so no text may hold it."""


def to_tokens(text: str | bytes) -> npt.NDArray[np.uint8]:
    """Return the bytes of the text (a str is encoded as UTF-8) as tokens, without a start token.

    Raises TypeError for anything but str and bytes, ValueError if the text holds the byte 0 or cannot be encoded.
    """
    if isinstance(text, str):
        try:
            text = text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text must be valid Unicode, got {text[error.start : error.end]!r} at character {error.start}; "
                "pass the bytes themselves, or encode it with errors='replace'"
            ) from error
    if not isinstance(text, bytes):
        raise TypeError(f"text must be str or bytes, got {type(text).__name__}; turn tokens into text with to_text")
    refuse_start("text", text)
    return np.frombuffer(text, dtype=np.uint8).copy()  # the copy may be written to, as torch.from_numpy asks


def to_text(tokens: npt.ArrayLike) -> str:
    """Return the text that the tokens spell; bytes that are no UTF-8 become U+FFFD, start tokens are left out.

    `tokens` is anything one-dimensional that numpy reads as integers: bytes, a list, an array, a tensor on a CPU.
    Raises TypeError if they are no integers, ValueError for another shape or a token outside 0..255.
    """
    if isinstance(tokens, bytes | bytearray):
        array = np.frombuffer(tokens, dtype=np.uint8)
    else:
        array = np.asarray(tokens)
        if array.size == 0 and array.ndim == 1:
            return ""
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"tokens must be integers from 0 to {VOCABULARY - 1}, got {array.dtype}; make them with to_tokens"
        )
    if array.ndim != 1:
        raise ValueError(f"tokens must have the shape (time), got {array.shape}; take one sequence, tokens[0]")
    outside = (array < 0) | (array >= VOCABULARY)
    if outside.any():
        place = int(outside.argmax())
        raise ValueError(
            f"tokens must lie between 0 and {VOCABULARY - 1}, got {array[place]} at position {place}; "
            "tokens here are bytes, other vocabularies need their own decoder"
        )
    return array[array != START].astype(np.uint8).tobytes().decode(errors="replace")


def refuse_start(name: str, text: bytes) -> None:
    """Raise ValueError if the text holds the byte 0; `name` is the file or the argument to name."""
    offset = text.find(START)
    if offset >= 0:
        raise ValueError(
            f"{name} must not hold the byte 0, which is the start token, got one at offset {offset}; "
            "if it is text in UTF-16 convert it to UTF-8, if it is a binary file leave it out"
        )
