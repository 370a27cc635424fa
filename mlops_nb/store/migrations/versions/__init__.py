"""One module for each step, named by the number of the schema that it leads to."""
