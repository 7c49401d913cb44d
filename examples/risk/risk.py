"""The same score as risk.c, for MicroPython: args = ["/app/risk.py"], weights in /secrets/weights, records on stdin."""

import math
import sys

weights = {}
with open("/secrets/weights") as file:
    for line in file:
        name, weight = line.split()
        weights[name] = float(weight)
bias = weights.pop("bias", 0.0)

columns = sys.stdin.readline().strip().split(",")
if any(name not in columns for name in weights):
    sys.stderr.write("risk: a weight has no column in the records\n")
    sys.exit(1)

records = high = 0
total = 0.0
for line in sys.stdin:
    if not line.strip():
        continue
    cells = dict(zip(columns, line.strip().split(",")))
    score = bias + sum(weight * float(cells[name]) for name, weight in weights.items())
    score = 1 / (1 + math.exp(-score))
    total += score
    high += score > 0.5
    records += 1
if not records:
    sys.stderr.write("risk: no records on stdin\n")
    sys.exit(1)
print("records %d\nmean risk %.4f\nhigh risk %d" % (records, total / records, high))
