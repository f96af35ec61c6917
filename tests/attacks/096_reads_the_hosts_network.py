# items: 96
# about: What /proc tells of the network is that of the jail: one interface that is down, no address and no connection of the host.
# expect: exited 0
# stdout: held
# walls: netns

broken = []
for folder in ("/proc/self/net", "/proc/thread-self/net", "/proc/net"):
    for name, headings in (("dev", 2), ("tcp", 1), ("udp", 1), ("unix", 1), ("route", 1), ("arp", 1), ("fib_trie", 0)):
        try:
            with open(f"{folder}/{name}") as file:
                lines = file.read().splitlines()[headings:]
        except OSError:
            continue
        broken += [f"{folder}/{name}: {line.strip()}" for line in lines if not line.strip().startswith("lo:")]
print("BROKEN: " + ", ".join(broken[:5]) if broken else "held")
