"""Scoring texts with a bar: the whole validation split takes a minute on a CPU."""

from collections.abc import Sequence

from tqdm import tqdm

from megalodon_edu.data import Document
from megalodon_edu.models import LanguageModel
from megalodon_edu.training.evaluation import Evaluation, evaluate


def evaluate_with_bar(
    model: LanguageModel, documents: Sequence[Document], max_bytes: int | None = None, precision: str = "float32"
) -> Evaluation:
    """The same as `evaluate`, with a progress bar on a terminal."""
    total = sum(len(document.text[:max_bytes]) for document in documents)
    with tqdm(total=total, unit="B", unit_scale=True, desc="scoring", disable=None, leave=False) as bar:
        return evaluate(model, documents, max_bytes, precision, on_bytes=bar.update)
