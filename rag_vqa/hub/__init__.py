"""The Hugging Face hub: what a repository holds, its files on this machine, and why it failed.

Knows huggingface_hub's protocol, cache and errors. Does not know what a model is for.
"""
