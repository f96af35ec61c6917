"""Runs calls with the real codejail, one JSON object a line in, one a line out.

Codejail starts a run with sudo, to become another user and to set TMPDIR. There is no sudo here: the
command that codejail made is taken apart again and started with setpriv and env, which do just that.
Everything else is codejail's own: its wrapper, rlimits, pipes, killer, cleaning up.

    python codejail_driver.py PYTHON-OF-THE-SANDBOX UID [REALTIME]
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from codejail import jail_code, safe_exec

from tests.generated import outcome

SUDO = ["sudo", "-u", "sandbox"]


def configured(python, uid):
    """Configures codejail for a sandbox without sudo."""
    real = jail_code.run_subprocess

    def without_sudo(cmd, **given):
        assert cmd[:3] == SUDO, cmd
        rest = cmd[3:]
        started = ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        return real([*started, "/usr/bin/env", "-i", "PATH=/usr/bin:/bin", *rest], **given)

    jail_code.run_subprocess = without_sudo
    jail_code.configure("python", python, user="sandbox")


def main(python, uid, realtime="20"):
    configured(python, uid)
    jail_code.set_limit("CPU", 5)
    jail_code.set_limit("REALTIME", int(realtime))
    for line in sys.stdin:
        given = json.loads(line)
        start = time.perf_counter()
        answer = outcome(lambda names, code=given["code"]: safe_exec.safe_exec(code, names), given["globals"])
        answer["seconds"] = time.perf_counter() - start
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
