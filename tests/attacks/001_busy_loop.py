# items: 1
# about: An endless loop is stopped at its CPU limit.
# expect: cpu_limit
# walls: rlimits
# limits: cpu_ms=500 wall_ms=5000

while True:
    pass
