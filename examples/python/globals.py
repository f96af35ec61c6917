import math


def right(answer):
    return not math.isnan(answer)


print("a hint")
score = sum(map(right, answers)) / len(answers)
seen = tuple(filter(right, answers))
