# items: 26
# about: A program cannot make others a better victim than itself when memory runs out.
# expect: exited 0
# stdout: held
# walls: landlock

broken = []
for value in (-1000, -999, -1, 0, 1, 500, 999):
    for name in ("oom_score_adj", "oom_adj"):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(str(value))
            with open(f"/proc/self/{name}") as file:
                broken.append(f"{name} is {file.read().strip()}")
        except OSError:
            pass
print("BROKEN: " + ", ".join(broken) if broken else "held")
