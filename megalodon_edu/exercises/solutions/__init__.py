"""Solutions, one module per chapter. The checks do not need this folder: a teacher can leave it out."""
