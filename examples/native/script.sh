#!/bin/sh
tools/greet "a b"
tools/plain 2>/dev/null || echo "not executable"
