// SPDX-License-Identifier: GPL-3.0-only

// Package watch is the edit-build-boot loop: a watcher that turns bursts of
// changes in a kernel tree into settled sets, and a state machine that decides
// what they mean for the build and the guest that run.
package watch
