"""What an AI inference costs, why, and what would change it."""

__version__ = "0.1.0"
