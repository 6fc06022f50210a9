"""For teachers: grade a folder of notebooks, and make the version of the course that students get."""
