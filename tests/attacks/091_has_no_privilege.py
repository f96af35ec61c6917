# items: 91
# about: No capability, group, blocked or ignored signal, or foreign identity comes with the program.
# expect: exited 0
# stdout: held
# walls: caps seccomp no_new_privs

broken = []
with open("/proc/self/status") as file:
    lines = dict(line.split(":", 1) for line in file if ":" in line)
none = "0" * 16
expected = {
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "CapInh": none,
    "CapPrm": none,
    "CapEff": none,
    "CapBnd": none,
    "CapAmb": none,
    "Groups": "",
    "SigBlk": none,
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25).
    "SigIgn": "0000000001001000",
}
for name, value in expected.items():
    if lines[name].strip() != value:
        broken.append(f"{name} is {lines[name].strip()}")
ids = set(lines["Uid"].split()) | set(lines["Gid"].split())
if len(ids) != 1 or "0" in ids:
    broken.append(f"the identities are {ids}")
print("BROKEN: " + ", ".join(broken) if broken else "held")
