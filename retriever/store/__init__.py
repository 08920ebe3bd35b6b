"""A knowledge base on disk: rows in SQLite, tokens in segment files, pictures by content hash.

document_store.py    documents, passages and their tokens: what a commit writes and how it is read
database.py          the SQLite file: transactions, snapshots, versions; schema.py: its tables
segments.py          files of tokens and codes, and the blocks that say which rows are whose
document_content.py  a document as stored text, its hashes and its pictures
kb_manifest.py       which retriever made the tokens
maintenance.py, verify.py, migrate.py
"""
