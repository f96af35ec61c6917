# items: 2
# about: A program that waits for nothing is stopped at its wall limit.
# expect: wall_limit
# stdout: held
# limits: wall_ms=400

echo held
sleep 1000
