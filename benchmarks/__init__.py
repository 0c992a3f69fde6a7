"""Benchmarks: each writes its numbers, the command that made them and the environment into
`benchmarks/results`.
"""
