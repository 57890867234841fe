// SPDX-License-Identifier: GPL-3.0-only

// Package ui renders events for people, on a terminal or in a log, and for
// programs, as JSON.
package ui
