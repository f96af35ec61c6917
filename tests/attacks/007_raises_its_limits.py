# items: 7
# about: No limit can be raised above its hard value, neither one's own nor by way of a child.
# expect: exited 0
# stdout: held
# walls: rlimits

import os
import resource

broken = []
for name in (name for name in dir(resource) if name.startswith("RLIMIT_")):
    number = getattr(resource, name)
    soft, hard = resource.getrlimit(number)
    if hard == resource.RLIM_INFINITY:
        continue
    for wanted in (hard + 1, resource.RLIM_INFINITY):
        try:
            resource.setrlimit(number, (soft, wanted))
        except (ValueError, OSError):
            pass
        # An answer without an error may be a polite lie; the limit tells.
        if resource.getrlimit(number) != (soft, hard):
            broken.append(name)
# With a core limit of 0 the kernel would feed the host's core helper; with 1 it does not.
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))
if resource.getrlimit(resource.RLIMIT_CORE) != (1, 1):
    broken.append("a core limit of its own")
for name in ("RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE"):
    if resource.getrlimit(getattr(resource, name)) != (0, 0):
        broken.append(name + " is above zero")
# A child has the same limits, and its parent may not raise them either.
child = os.fork()
if child == 0:
    while True:
        os.sched_yield()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
try:
    resource.prlimit(child, resource.RLIMIT_NOFILE, (soft, hard + 1))
    broken.append("prlimit of a child")
except (ValueError, OSError):
    pass
os.kill(child, 9)
os.wait()
print("BROKEN: " + ", ".join(broken) if broken else "held")
