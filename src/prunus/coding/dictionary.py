"""What every file of version 1 is deflated after."""

DICTIONARY = b"stand-in"
