"""The weights behind a number: the same digest, the same model."""

import hashlib

from megalodon_edu.models import LanguageModel


def weights_digest(model: LanguageModel) -> str:
    """SHA-256 of every parameter's name and its values in float32."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
