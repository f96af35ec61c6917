# items: 29
# about: A fork bomb stays within its process limit and is dead at the end.
# expect: wall_limit
# walls: cgroup_pids
# limits: wall_ms=700 cpu_ms=60000 processes=20

bomb() { bomb | bomb & }
bomb
sleep 1000
