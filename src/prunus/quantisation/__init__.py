"""From weights to what is coded: grids with error feedback, codebooks, and grids that are trained."""

__all__: list[str] = []
