hoard=x
while :; do
  hoard=$hoard$hoard
done
