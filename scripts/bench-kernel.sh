# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
#
# What the programs of bench/ need: a kernel's $tree and its $build directory, and
# run-kernel in a temporary $dir. To be sourced, with $root at the top of the checkout.

# shellcheck source=scripts/setup.sh
. "$root/scripts/setup.sh"

check_go
need_apt_lists
version=$(kernel_version)
# shellcheck disable=SC2046
install_packages $(kernel_packages) "linux-source-$version"
tree=$cache/linux-$version
build=$cache/build-linux-$version
unpack "/usr/src/linux-source-$version.tar.xz" "$tree"
tiny_config "$tree" "$build"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
build_run_kernel "$dir/run-kernel"
