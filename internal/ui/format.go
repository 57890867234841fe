// SPDX-License-Identifier: GPL-3.0-only

package ui

import (
	"fmt"
	"math"
	"time"
)

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func orAbsent(v string) string {
	if v == "" {
		return "absent"
	}
	return v
}

func ifAny(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// roughly is a duration that is only estimated.
func roughly(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("about %d s", max(10, int(math.Ceil(d.Seconds()/10))*10))
	}
	return fmt.Sprintf("about %d min", int(d.Round(time.Minute).Minutes()))
}

func seconds(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
