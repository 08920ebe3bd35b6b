"""Readers of single documents: text with pictures, cut into sections. One file and one entry each.

Knows nothing itself: each module registers its reader (formats/document_reader.py).
"""
