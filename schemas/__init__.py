"""The contract between the curator and the trainer: documents, digests, errors. Imports neither program."""

__version__ = "0.1.0"
