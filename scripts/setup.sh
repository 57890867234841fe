# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
#
# What ./demo and ./test share: installing packages, fetching kernel sources,
# building run-kernel. To be sourced, with $root at the top of the checkout.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/run-kernel-test

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# install_packages PACKAGE...: installs those that are missing, by apt.
install_packages() {
	local missing=() p
	command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
		{ say "not a Debian system: make sure you have the equivalents of: $*"; return; }
	for p; do
		[[ $(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null) == installed ]] || missing+=("$p")
	done
	((${#missing[@]})) || return 0
	local sudo=()
	if ((EUID != 0)); then
		sudo=(sudo)
		say "to be installed, as root: ${missing[*]}"
		[[ -t 0 ]] || die "no terminal to ask at; run: sudo apt-get install ${missing[*]}"
		read -rp "    install them with sudo apt-get? [y/N] " answer
		[[ $answer == [yY]* ]] || die "these packages are needed: ${missing[*]}"
	else
		say "installing ${missing[*]}"
	fi
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
	"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
		die "apt-get could not install ${missing[*]}"
}

# What building and booting a kernel takes.
kernel_packages() {
	local list="gcc make flex bison bc libelf-dev libssl-dev perl rsync cpio kmod xz-utils qemu-system-x86"
	# Debian 12's virtiofsd comes with qemu, Debian 13's is a package of its own.
	if apt-cache show virtiofsd >/dev/null 2>&1; then
		echo "$list virtiofsd"
	else
		echo "$list qemu-system-common"
	fi
}

# The version of Debian's kernel source package on this release.
kernel_version() {
	local v
	v=$(apt-cache depends linux-source 2>/dev/null | sed -n 's/.*Depends: linux-source-//p' | head -n1)
	echo "${v:-6.1}"
}

need_apt_lists() {
	((EUID == 0)) || return 0
	apt-cache show linux-source >/dev/null 2>&1 || apt-get update -qq
}

# unpack TARBALL DIR: at once or not at all.
unpack() {
	[[ -e $2/Makefile ]] && return
	[[ -e $1 ]] || die "$1 is missing"
	say "unpacking $(basename "$1") into $2"
	rm -rf "$2.new" "$2"
	mkdir -p "$2.new"
	tar -C "$2.new" --strip-components=1 -xf "$1"
	mv "$2.new" "$2"
}

# check_go: run-kernel needs the Go that go.mod names.
check_go() {
	command -v go >/dev/null || die "Go is missing; see https://go.dev/doc/install"
	(cd "$root" && go list -m >/dev/null) || die "this Go ($(go version)) can't build run-kernel; see go.mod"
}

# build_run_kernel FILE: static, so that it can be the guest's init by itself.
build_run_kernel() {
	(cd "$root" && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$1" ./cmd/run-kernel)
}

# tiny_config TREE BUILD: writes the smallest 64-bit .config, unless there is
# one; run-kernel adds what a guest needs.
tiny_config() {
	[[ -e $2/.config ]] && return
	mkdir -p "$2"
	echo CONFIG_64BIT=y >"$2/.tiny"
	make -s -C "$1" O="$2" KCONFIG_ALLCONFIG="$2/.tiny" tinyconfig >/dev/null || die "make tinyconfig failed in $1"
	rm "$2/.tiny"
}
