#!/bin/sh
# Builds risk.wasm with Debian 12's clang 14 and wasi-libc: apt-get install clang lld wasi-libc libclang-rt-14-dev-wasm32
# The result must have the hash in risk.wasm.sha256; with another compiler it is another file that does the same.
set -eu
cd "$(dirname "$0")"
clang --target=wasm32-wasi -Os -s -o "${1:-risk.wasm}" risk.c
