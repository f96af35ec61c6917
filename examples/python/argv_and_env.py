import os
import sys

print(sys.argv[1:])
print(os.environ["GREETING"])
# Nothing of the worker's own environment is visible.
print(os.environ.get("JAILFLEET__AMQP__URI"))
