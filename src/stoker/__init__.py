"""Stoker keeps GPUs fed: async serverless GPU endpoints on machines you own."""

__version__ = "0.1.0"
