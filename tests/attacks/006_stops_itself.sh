# items: 6
# about: A program that stops itself and its children is killed at its wall limit.
# expect: wall_limit
# stdout: held
# limits: wall_ms=400

sleep 1000 &
kill -STOP $!
echo held
kill -STOP $$
