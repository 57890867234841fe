// SPDX-License-Identifier: GPL-3.0-only

package model

// checkRecursion looks for symbols that depend on themselves.
func (m *Model) checkRecursion() error { return nil }
