"""What may follow --checkpoint."""

from megalodon_edu.models import pretrained_names

CHECKPOINT_HELP = (
    f"folder of a run or of a checkpoint, or a model that ships with the course: {', '.join(pretrained_names())} "
    "[runs/tiny]"
)
