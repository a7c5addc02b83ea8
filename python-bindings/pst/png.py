# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small pictures: a canvas with rectangles, images and text, saved as PNG."""

from __future__ import annotations

import struct
import zlib

import numpy as np

# A 5 x 7 font. One string of seven 5-bit rows for each character, '#' is ink;
# rows are base 32 digits, the high bit at the left.
_FONT_ROWS = {
    " ": "0000000",
    "!": "4444404",
    "%": "OP248J3",
    "(": "2488842",
    ")": "8422248",
    "*": "04LEL40",
    "+": "044V440",
    ",": "0000648",
    "-": "000V000",
    ".": "00000CC",
    "/": "01248G0",
    ":": "0CC0CC0",
    "=": "00V0V00",
    "_": "000000V",
    "0": "EHJLPHE",
    "1": "4C4444E",
    "2": "EH1248V",
    "3": "V2421HE",
    "4": "26AIV22",
    "5": "VGU11HE",
    "6": "68GUHHE",
    "7": "V124888",
    "8": "EHHEHHE",
    "9": "EHHF12C",
    "A": "EHHHVHH",
    "B": "UHHUHHU",
    "C": "EHGGGHE",
    "D": "SIHHHIS",
    "E": "VGGUGGV",
    "F": "VGGUGGG",
    "G": "EHGNHHF",
    "H": "HHHVHHH",
    "I": "E44444E",
    "J": "72222IC",
    "K": "HIKOKIH",
    "L": "GGGGGGV",
    "M": "HRLLHHH",
    "N": "HHPLJHH",
    "O": "EHHHHHE",
    "P": "UHHUGGG",
    "Q": "EHHHLID",
    "R": "UHHUKIH",
    "S": "FGGE11U",
    "T": "V444444",
    "U": "HHHHHHE",
    "V": "HHHHHA4",
    "W": "HHHLLLA",
    "X": "HHA4AHH",
    "Y": "HHHA444",
    "Z": "V1248GV",
    "[": "E88888E",
    "]": "E22222E",
    "a": "00E1FHF",
    "b": "GGMPHHU",
    "c": "00EGGHE",
    "d": "11DJHHF",
    "e": "00EHVGE",
    "f": "698S888",
    "g": "00FHF1E",
    "h": "GGMPHHH",
    "i": "40C444E",
    "j": "20622IC",
    "k": "GGIKOKI",
    "l": "C44444E",
    "m": "00QLLHH",
    "n": "00MPHHH",
    "o": "00EHHHE",
    "p": "00UHUGG",
    "q": "00FHHF1",
    "r": "00MPGGG",
    "s": "00EGE1U",
    "t": "88S8896",
    "u": "00HHHJD",
    "v": "00HHHA4",
    "w": "00HHLLA",
    "x": "00HA4AH",
    "y": "00HHF1E",
    "z": "00V248V",
}


def _glyph(character: str) -> np.ndarray:
    """bool[7, 5]; a box for what the font lacks."""
    rows = [int(digit, 32) for digit in _FONT_ROWS.get(character, "VHHHHHV")]
    return np.array([[row >> (4 - x) & 1 for x in range(5)] for row in rows], bool)


class Canvas:
    """An RGB picture; x runs right and y down, in pixels."""

    def __init__(self, width: int, height: int, colour=(255, 255, 255)):
        self.pixels = np.empty((height, width, 3), np.uint8)
        self.pixels[:] = colour

    def rectangle(self, x: float, y: float, width: float, height: float, colour) -> None:
        """Fills the rectangle; parts outside the canvas are cut off."""
        x0, y0 = max(round(x), 0), max(round(y), 0)
        self.pixels[y0 : max(round(y + height), 0), x0 : max(round(x + width), 0)] = colour

    def frame(self, x: int, y: int, width: int, height: int, colour) -> None:
        """A line of one pixel just outside the rectangle."""
        self.rectangle(x - 1, y - 1, width + 2, 1, colour)
        self.rectangle(x - 1, y + height, width + 2, 1, colour)
        self.rectangle(x - 1, y - 1, 1, height + 2, colour)
        self.rectangle(x + width, y - 1, 1, height + 2, colour)

    def image(self, x: int, y: int, pixels: np.ndarray) -> None:
        """Copies uint8[height, width, 3]; must fit."""
        self.pixels[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels

    def text(self, x: float, y: float, text: str, colour=(40, 40, 40), scale: int = 1, align: str = "left") -> None:
        """Writes from the top left corner (align: "left", "centre", "right")."""
        width = text_width(text, scale)
        x = round(x - {"left": 0, "centre": width / 2, "right": width}[align])
        y = round(y)
        for character in text:
            glyph = np.kron(_glyph(character), np.ones((scale, scale), bool))
            # Clipped at the edges of the canvas.
            left, top = max(-x, 0), max(-y, 0)
            target = self.pixels[max(y, 0) : max(y + 7 * scale, 0), max(x, 0) : max(x + 5 * scale, 0)]
            part = glyph[top : top + target.shape[0], left : left + target.shape[1]]
            target[: part.shape[0], : part.shape[1]][part] = colour
            x += 6 * scale

    def text_up(self, x: float, y: float, text: str, colour=(40, 40, 40), scale: int = 1) -> None:
        """Writes upwards, turned by 90 degrees, centred at height y."""
        width = text_width(text, scale)
        strip = Canvas(width, 7 * scale)
        strip.text(0, 0, text, colour, scale)
        self.image(round(x), round(y - width / 2), np.rot90(strip.pixels))

    def save(self, path) -> None:
        with open(path, "wb") as file:
            file.write(encode(self.pixels))


def text_width(text: str, scale: int = 1) -> int:
    return max(6 * scale * len(text) - scale, 0)


def encode(pixels: np.ndarray) -> bytes:
    """A PNG file's bytes of uint8[height, width, 3]."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a leading 0: no filter
    rows[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + chunk(b"IEND", b"")
    )
