"""Methods: one file per published method, reading like the paper; how scores, targets and training are strung together."""
