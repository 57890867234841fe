// SPDX-License-Identifier: GPL-3.0-only

package report

import (
	"fmt"
	"slices"
)

// A Class says what kind of thing went wrong. Its text, as String gives it, is
// what configuration and JSON use.
type Class int

// The classes, the more severe ones first.
const (
	Panic         Class = iota // panic() without a report of its own before it
	Oops                       // the processor refused: page fault, general protection, divide error …
	Bug                        // BUG() and BUG_ON()
	StackOverflow              // a kernel stack is full or overwritten
	KASAN                      // kernel address sanitizer
	KFENCE                     // sampling detector of memory errors
	KMSAN                      // uses of memory that nobody has written
	KCSAN                      // data races
	UBSAN                      // undefined behaviour
	Corruption                 // lists, slabs, pages and user copies that can't be right
	Refcount                   // a reference counter that overflows or is used after 0
	Lockdep                    // locks: order, context, balance, RCU usage, preemption
	AtomicSleep                // sleeping or scheduling where that is forbidden
	Warning                    // WARN() and WARN_ON()
	Hang                       // lockups, stalls and hung tasks
	Leak                       // kmemleak
	Limit                      // a debugging tool of the kernel's has run out of its own room
)

var classNames = [...]string{
	Panic: "panic", Oops: "oops", Bug: "bug", StackOverflow: "stack-overflow", KASAN: "kasan", KFENCE: "kfence", KMSAN: "kmsan",
	KCSAN: "kcsan", UBSAN: "ubsan", Corruption: "corruption", Refcount: "refcount", Lockdep: "lockdep",
	AtomicSleep: "atomic-sleep", Warning: "warning", Hang: "hang", Leak: "leak", Limit: "limit",
}

// String returns the name of a class, such as "atomic-sleep".
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return fmt.Sprintf("class %d", int(c))
	}
	return classNames[c]
}

// MarshalText returns the class's name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a class's name.
func (c *Class) UnmarshalText(text []byte) error {
	i := slices.Index(classNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("no class of reports is called %q", text)
	}
	*c = Class(i)
	return nil
}

// Classes returns all classes, the more severe ones first.
func Classes() []Class {
	all := make([]Class, len(classNames))
	for i := range all {
		all[i] = Class(i)
	}
	return all
}
