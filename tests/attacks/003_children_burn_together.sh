# items: 3
# about: Children that each stay below the CPU limit are billed together.
# expect: cpu_limit
# walls: cgroup_cpu
# limits: cpu_ms=600 wall_ms=10000

for child in 1 2 3 4; do
    (while :; do :; done) &
done
wait
