"""Prints what its condition says: a list of steps.

["bytes", FD, SEED, N, PIECE, PAUSE_S]: N random bytes of SEED to the descriptor, in pieces, with a pause after each;
["text", FD, TEXT]; ["until", FILE]: stays until the file is there; ["touch", FILE].
"""
import json
import os
import random
import sys
import time


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def put_bytes(fd, seed, n, piece, pause_s=0):
    data = random.Random(seed).randbytes(n)
    for at in range(0, n, piece):
        write_all(fd, data[at:at + piece])
        if pause_s:
            time.sleep(pause_s)


def until(file):
    while not os.path.exists(file):
        time.sleep(0.01)


STEPS = {"bytes": put_bytes, "text": lambda fd, text: write_all(fd, text.encode()), "until": until,
         "touch": lambda file: open(file, "w").close()}

for step, *args in json.load(sys.stdin)["Task"]["condition"]:
    STEPS[step](*args)
