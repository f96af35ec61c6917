head -c 1M /dev/zero > "$TMPDIR/big.bin"
code=$?
echo "ended by signal $((code - 128))"
exit "$code"
