// SPDX-License-Identifier: GPL-3.0-only

// Package event holds what a run of run-kernel reports while it goes: one
// sealed type, emitted by the packages that do the work and rendered by
// internal/ui. It imports nothing of this project.
package event
