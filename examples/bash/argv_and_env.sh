echo "$# arguments, the first is $1"
echo "$GREETING"
