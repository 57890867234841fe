// SPDX-License-Identifier: GPL-3.0-only

// Package explain says why a configuration symbol has its value, and what it
// takes to give it another one.
package explain
