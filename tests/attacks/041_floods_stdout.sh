# items: 41
# about: A flood on standard output is cut off.
# expect: output_limit
# limits: wall_ms=10000

yes
