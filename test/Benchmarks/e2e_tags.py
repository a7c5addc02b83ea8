# Part of the PST project, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""e2e_tags.py CSV DIRECTORY: E2E's references as words with tags, DIRECTORY/train.conll and DIRECTORY/dev.conll.

CSV is one of E2E's files (`mr`, `ref`). A value of the meaning representation that stands in the reference, word by word, is
B- and I- with its attribute's name; a ninth of the representations, with all their references, is for dev.conll.
"""

import csv
import pathlib
import random
import re
import sys

WORD = r"\w+|[^\w\s]"


def tagged(row):
    """(word, tag) of a reference."""
    words = re.findall(WORD, row["ref"])
    lower, tags = [word.lower() for word in words], ["O"] * len(words)
    for name, text in re.findall(r"(\w+)\[([^\]]*)\]", row["mr"]):
        value = [word.lower() for word in re.findall(WORD, text)]
        for i in range(len(words) - len(value) + 1):
            place = slice(i, i + len(value))
            if lower[place] == value and set(tags[place]) == {"O"}:
                tags[place] = ["B-" + name] + ["I-" + name] * (len(value) - 1)
    return zip(words, tags)


def write(path, rows):
    path.write_text("".join("".join(f"{word} {tag}\n" for word, tag in tagged(row)) + "\n" for row in rows))


def main(source, directory):
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    chance = random.Random(0)
    meanings = sorted({row["mr"] for row in rows})
    chance.shuffle(meanings)
    held = set(meanings[: len(meanings) // 9])
    train = [row for row in rows if row["mr"] not in held]
    chance.shuffle(train)
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write(directory / "train.conll", train)
    write(directory / "dev.conll", [row for row in rows if row["mr"] in held])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
