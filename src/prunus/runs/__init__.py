"""Runs: a whole job, from what a user names to the folder that it leaves."""
