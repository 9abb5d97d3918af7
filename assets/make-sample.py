#!/usr/bin/env python3
"""Writes assets/sample.txt: an almanac of numbers, long enough to show a transfer in progress, readable from any offset.

Runs from any folder, writes beside itself, and always the same bytes.
"""

import math
import pathlib

LAST = 3000
ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
ONES += "seventeen eighteen nineteen".split()
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(n):
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + ("-" + ONES[n % 10] if n % 10 else "")
    unit, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    rest = n % unit
    return f"{in_words(n // unit)} {name}" + (" " + in_words(rest) if rest else "")


def factors(n):
    found, divisor = [], 2
    while divisor * divisor <= n:
        while n % divisor == 0:
            found.append(divisor)
            n //= divisor
        divisor += 1
    return found + [n] if n > 1 else found


def line(n):
    parts = factors(n)
    what = "prime" if len(parts) == 1 else " x ".join(map(str, parts)) or "a unit"
    return f"{n:>5}  {in_words(n):<44}  {what:<36}  square {n * n:<9}  root {math.sqrt(n):.6f}\n"


head = f"An almanac of the numbers from 1 to {LAST}: in words, in factors, squared, and the root.\n\n"
text = head + "".join(line(n) for n in range(1, LAST + 1)) + "\nThe end: if you can read this line, the file is whole.\n"
pathlib.Path(__file__).with_name("sample.txt").write_text(text, encoding="ascii")
