head -c 16M /dev/zero > "$TMPDIR/big.bin"
