"""What the project knows about itself."""

# The public address of the repository, for example "https://github.com/owner/megalodon-edu".
# While it is empty, links that need it (Colab, Binder) are hidden.
PROJECT_URL = ""
