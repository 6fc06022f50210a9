"""Texts as bytes: the bundled library, the reader's own files, enwik8. Standard library and numpy only."""

from megalodon_edu.data.books import documents, library
from megalodon_edu.data.bytes import START, VOCABULARY, to_text, to_tokens
from megalodon_edu.data.document import SPLITS, Document
from megalodon_edu.data.enwik8 import enwik8
from megalodon_edu.data.local import local_documents, python_sources
from megalodon_edu.data.worked_example import SIX_TOKENS, SIX_VALUES

__all__ = [
    "SIX_TOKENS",
    "SIX_VALUES",
    "SPLITS",
    "START",
    "VOCABULARY",
    "Document",
    "documents",
    "enwik8",
    "library",
    "local_documents",
    "python_sources",
    "to_text",
    "to_tokens",
]
