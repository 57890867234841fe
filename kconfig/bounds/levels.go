// SPDX-License-Identifier: GPL-3.0-only

package bounds

import "github.com/metaspace/run-kernel/kconfig/model"

// A levels is a set of n, m and y, a bit for each.
type levels uint8

const (
	none levels = 0
	n    levels = 1 << model.No
	m    levels = 1 << model.Mod
	y    levels = 1 << model.Yes
	all         = n | m | y
)

// combine are the results of an operation on any two of two sets.
func combine(a, b levels, op func(x, y model.Tristate) model.Tristate) levels {
	var out levels
	for x := model.No; x <= model.Yes; x++ {
		for y := model.No; y <= model.Yes; y++ {
			if a&(1<<x) != 0 && b&(1<<y) != 0 {
				out |= 1 << op(x, y)
			}
		}
	}
	return out
}

func lower(a, b levels) levels {
	return combine(a, b, func(x, y model.Tristate) model.Tristate { return min(x, y) })
}

func higher(a, b levels) levels {
	return combine(a, b, func(x, y model.Tristate) model.Tristate { return max(x, y) })
}

func inverse(a levels) levels {
	return combine(a, n, func(x, _ model.Tristate) model.Tristate { return model.Yes - x })
}

// below are the values that are at most one of a set.
func below(a levels) levels { return lower(all, a) }
