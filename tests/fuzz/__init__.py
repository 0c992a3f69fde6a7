"""Damaged and forged files for every reader of the package: a named error or the content as it was, and never
a crash, a hang or a full memory.
"""
