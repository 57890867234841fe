// SPDX-License-Identifier: GPL-3.0-only

// Package confine takes from a program that works for a guest what would be dangerous on
// the host: making files with another's rights, or writing at all, and root's privileges.
package confine
