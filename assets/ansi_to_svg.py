#!/usr/bin/env python3
"""Turns coloured terminal text on stdin into an SVG picture on stdout: one grid of cells, standard library only.

The picture brings its own dark background, so that it looks the same on a light page and on a dark one.
"""

import argparse
import re
import sys
import unicodedata
from xml.sax.saxutils import escape

FOREGROUND, BACKGROUND = "#d4d7dd", "#16181d"
BASE = ["#24272e", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4",
        "#6b7280", "#f08a92", "#b1d894", "#f2d399", "#82c3f7", "#d79bea", "#7ccfd9", "#ffffff"]
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, MARGIN = 8.4, 17, 14, 12
PLAIN = {"fg": None, "bg": None, "bold": False, "dim": False, "italic": False, "underline": False, "reverse": False}


def indexed(number):
    """One of the 256 colours: 16 named ones, a cube of 6x6x6, and 24 greys."""
    if number < 16:
        return BASE[number]
    if number < 232:
        number -= 16
        levels = [0, 95, 135, 175, 215, 255]
        return "#%02x%02x%02x" % (levels[number // 36], levels[number // 6 % 6], levels[number % 6])
    return "#%02x%02x%02x" % ((8 + (number - 232) * 10,) * 3)


def styled(style, codes):
    """The style after one escape sequence."""
    style, codes = dict(style), list(codes)
    flags = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "reverse"}
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = dict(PLAIN)
        elif code in flags:
            style[flags[code]] = True
        elif code == 22:
            style["bold"] = style["dim"] = False
        elif code in (23, 24, 27):
            style[flags[code - 20]] = False
        elif code in (38, 48) and codes:
            kind, count = codes[0], {5: 2, 2: 4}.get(codes[0], 1)
            values, codes = codes[1:count], codes[count:]
            colour = indexed(values[0]) if kind == 5 and values else "#%02x%02x%02x" % tuple(values) if len(values) == 3 else None
            style["fg" if code == 38 else "bg"] = colour
        elif code in (39, 49):
            style["fg" if code == 39 else "bg"] = None
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style["fg"] = BASE[code - 30 if code < 90 else code - 82]
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style["bg"] = BASE[code - 40 if code < 100 else code - 92]
    return style


def cells(line, style):
    """The cells of a line as (column, width, text, style), and the style that it leaves behind."""
    found, column = [], 0
    for part in re.split(r"(\x1b\[[0-9;:]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x0e\x0f])", line):
        if part.startswith("\x1b["):
            if part.endswith("m"):
                style = styled(style, [int(code or 0) for code in re.split("[;:]", part[2:-1])])
            continue
        if part[:1] in ("\x1b", "\x0e", "\x0f"):
            continue
        for character in part:
            if unicodedata.combining(character) and found:
                last = found[-1]
                found[-1] = (last[0], last[1], last[2] + character, last[3])
                continue
            width = 2 if unicodedata.east_asian_width(character) in "WF" else 1
            found.append((column, width, character, style))
            column += width
    return found, style


def runs(line_cells):
    """Neighbouring cells of one style, joined."""
    joined = []
    for column, width, text, style in line_cells:
        if joined and joined[-1][3] == style and joined[-1][0] + joined[-1][1] == column:
            first, before, so_far, _ = joined[-1]
            joined[-1] = (first, before + width, so_far + text, style)
        else:
            joined.append((column, width, text, style))
    return joined


def colours(style):
    front, back = style["fg"] or FOREGROUND, style["bg"]
    return (back or BACKGROUND, front) if style["reverse"] else (front, back)


def picture(lines, columns, rows):
    width, height = columns * CELL_WIDTH + 2 * MARGIN, rows * CELL_HEIGHT + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    yield f'  font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="{FONT_SIZE}">'
    yield f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>'
    style = dict(PLAIN)
    backs, texts = [], []
    for row, line in enumerate(lines[:rows]):
        line_cells, style = cells(line, style)
        top = MARGIN + row * CELL_HEIGHT
        for column, wide, text, how in runs([cell for cell in line_cells if cell[0] < columns]):
            front, back = colours(how)
            left, long = MARGIN + column * CELL_WIDTH, wide * CELL_WIDTH
            if back:
                backs.append(f'<rect x="{left:g}" y="{top:g}" width="{long:g}" height="{CELL_HEIGHT}" fill="{back}"/>')
            if not text.strip() and not how["underline"]:
                continue
            more = ' font-weight="bold"' if how["bold"] else ""
            more += ' opacity="0.6"' if how["dim"] else ""
            more += ' font-style="italic"' if how["italic"] else ""
            more += ' text-decoration="underline"' if how["underline"] else ""
            # The length is given, so that the grid holds in whatever font the reader has.
            texts.append(f'<text x="{left:g}" y="{top + 13:g}" textLength="{long:g}" lengthAdjust="spacingAndGlyphs" '
                         f'xml:space="preserve" fill="{front}"{more}>{escape(text)}</text>')
    yield from backs
    yield from texts
    yield "</svg>"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=40)
    wanted = parser.parse_args()
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    sys.stdout.write("\n".join(picture(text.split("\n"), wanted.columns, wanted.rows)) + "\n")
