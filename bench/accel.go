// SPDX-License-Identifier: GPL-3.0-only

package main

import "github.com/metaspace/run-kernel/boot/qemu"

// accel is the accelerator that run-kernel would choose: the floor gets the same.
func accel() qemu.Accel {
	a, _ := qemu.ThisHost().ChooseAccel("x86_64")
	return a
}

func cpu() string {
	if accel() == qemu.KVM {
		return "host"
	}
	return "max"
}
