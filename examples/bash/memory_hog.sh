# Bounded, in case that nothing else bounds it here.
hoard=x
for _ in {1..29}; do
  hoard=$hoard$hoard
done
echo took half a gigabyte
