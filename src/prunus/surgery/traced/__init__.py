"""The fallback for forwards that hard-code sizes: the traced graph as a trainable module. Most networks never
need it.
"""
