"""A text as a QR code (ISO/IEC 18004): for pages that allow no inline style and no image from elsewhere, or alone."""

from dataclasses import dataclass

import segno

_QUIET = 4  # modules of white around it, as the standard asks


@dataclass(frozen=True, slots=True)
class Drawing:
    """The dark modules as the data of one SVG path, in a square of `size` units."""

    size: int
    path: str

    @property
    def svg(self) -> str:
        """As an image by itself, black on white."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.size} {self.size}" '
            f'shape-rendering="crispEdges"><rect width="{self.size}" height="{self.size}" fill="#fff"/>'
            f'<path fill="#000" d="{self.path}"/></svg>'
        )


def qr_code(text: str) -> Drawing:
    """With error correction M: a sixth of it may be unreadable."""
    matrix = segno.make(text, error="m", micro=False).matrix
    parts = []
    for y, row in enumerate(matrix, _QUIET):
        x = 0
        while x < len(row):
            length = 1
            while x + length < len(row) and row[x + length] == row[x]:
                length += 1
            if row[x]:
                parts.append(f"M{x + _QUIET} {y}h{length}v1h-{length}z")
            x += length
    return Drawing(len(matrix) + 2 * _QUIET, "".join(parts))
