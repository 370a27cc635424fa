"""A notebook as steps: what each needs and gives, and how they run."""
