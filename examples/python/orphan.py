import subprocess

subprocess.Popen(["sleep", "3600"], start_new_session=True)
print("done")
