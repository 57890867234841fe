// SPDX-License-Identifier: GPL-3.0-only

package model

import (
	"math"
	"strings"
)

// A scanned is what C's strtoll and strtoull read of a text.
type scanned struct {
	magnitude uint64
	negative  bool
	overflow  bool   // of the magnitude
	any       bool   // there is a number
	rest      string // what follows it; the whole text if there is none
}

// scan reads the number that a text begins with, after blanks and a sign. With
// base 0, the number says its own.
func scan(text string, base uint64) scanned {
	s := scanned{rest: text}
	digits := strings.TrimLeft(text, " \t\n\v\f\r")
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		s.negative = digits[0] == '-'
		digits = digits[1:]
	}
	if hex := len(digits) > 2 && digits[0] == '0' && digits[1]|' ' == 'x' && digit(digits[2]) < 16; hex && (base == 0 || base == 16) {
		base, digits = 16, digits[2:]
	}
	if base == 0 {
		base = 10
		if strings.HasPrefix(digits, "0") {
			base = 8
		}
	}
	for i := 0; i < len(digits) && digit(digits[i]) < base; i++ {
		d := digit(digits[i])
		if s.magnitude > (math.MaxUint64-d)/base {
			s.overflow = true
		}
		s.magnitude = s.magnitude*base + d
		s.any, s.rest = true, digits[i+1:]
	}
	return s
}

// digit is the value of a digit, and more than any for what is none.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c|' ' >= 'a' && c|' ' <= 'f':
		return uint64(c|' '-'a') + 10
	}
	return math.MaxUint64
}

// signed is the number, or the limit if it doesn't fit.
func (s scanned) signed() (n int64, fits bool) {
	switch {
	case s.negative && (s.overflow || s.magnitude > 1<<63):
		return math.MinInt64, false
	case s.negative:
		return -int64(s.magnitude), true
	case s.overflow || s.magnitude > math.MaxInt64:
		return math.MaxInt64, false
	}
	return int64(s.magnitude), true
}

// unsigned is the number, or the limit if it doesn't fit. One that is negative
// counts from the limit.
func (s scanned) unsigned() (n uint64, fits bool) {
	switch {
	case s.overflow:
		return math.MaxUint64, false
	case s.negative:
		return -s.magnitude, true
	}
	return s.magnitude, true
}
