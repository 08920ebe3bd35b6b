"""What the verbs do, as functions: each job takes a dataclass of options and a reporter."""
