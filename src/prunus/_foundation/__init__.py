"""What every room stands on: words, progress, whole files, the surroundings, and what is certain. No part of
the interface.
"""
